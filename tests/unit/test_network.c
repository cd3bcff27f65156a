#include "config.h"

#include "mirrord/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/unit/unit.h"

/* An address as a peer has it. */
static struct network_address peer(const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

    if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
        return network_address_of((const struct sockaddr *)&in);
    assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
    return network_address_of((const struct sockaddr *)&in6);
}

static void test_holds(void **state)
{
    static const struct {
        const char *network, *peer;
        bool holds;
    } ROWS[] = {
        {"127.0.0.0/8", "127.0.0.1", true},
        {"127.0.0.0/8", "127.255.255.255", true},
        {"127.0.0.0/8", "126.255.255.255", false},
        {"127.0.0.0/8", "128.0.0.0", false},
        {"172.16.0.0/12", "172.16.0.0", true},
        {"172.16.0.0/12", "172.31.255.255", true},
        {"172.16.0.0/12", "172.32.0.0", false},
        {"172.16.0.0/12", "172.15.255.255", false},
        {"10.1.2.3", "10.1.2.3", true},
        {"10.1.2.3", "10.1.2.2", false},
        {"10.1.2.2/31", "10.1.2.3", true},
        {"10.1.2.2/31", "10.1.2.4", false},
        {"0.0.0.0/0", "255.255.255.255", true},
        {"0.0.0.0/0", "::1", false},
        {"::/0", "2001:db8::1", true},
        {"::/0", "10.0.0.1", false},
        {"::/0", "::ffff:10.0.0.1", false},
        {"10.0.0.0/8", "::ffff:10.0.0.1", true},
        {"10.0.0.0/8", "::ffff:11.0.0.1", false},
        {"10.0.0.0/8", "::10.0.0.1", false},
        {"::ffff:10.0.0.0/104", "10.9.9.9", true},
        {"::ffff:10.0.0.0/104", "11.0.0.0", false},
        {"::ffff:10.0.0.1", "::ffff:10.0.0.1", true},
        {"::1/128", "::1", true},
        {"::1", "::2", false},
        {"fc00::/7", "fdff:1::1", true},
        {"fc00::/7", "fe00::1", false},
        {"fe80::/10", "febf::1", true},
        {"fe80::/10", "fec0::1", false},
        {" 10.0.0.0/8\t", "10.0.0.1", true},
    };

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        struct network network;
        struct error err = {0};
        struct network_address address = peer(ROWS[i].peer);
        if (network_parse(slice_of(ROWS[i].network), &network, &err) != 0)
            fail_msg("%s: %s", ROWS[i].network, err.text);
        if (network_holds(&network, &address) != ROWS[i].holds)
            fail_msg("%s and %s", ROWS[i].network, ROWS[i].peer);
    }
}

static void test_refuses(void **state)
{
    static const char *const ROWS[] = {
        "",
        "/",
        "/8",
        "10",
        "10.0.0",
        "10.0.0.0.0",
        "10.0.0.256",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/a",
        "10.0.0.0/-1",
        "10.0.0.0/8/8",
        "10.0.0.1/8",
        "10.0.0.0 /8",
        "10.0.0.0/ 8",
        "localhost",
        "*",
        "::/129",
        "::1/0",
        "fe80::1%lo",
        "[::1]",
        "::ffff:0:0/95",
        "::ffff:10.0.0.1/104",
        "10.0.0.0/8,11.0.0.0/8",
        "010.0.0.0x/8",
        "1:2:3:4:5:6:7:8:9",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb",
    };

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        struct network network = {.prefix = 99};
        struct error err = {0};
        if (network_parse(slice_of(ROWS[i]), &network, &err) != -EINVAL || !err.text[0])
            fail_msg("%s: %s", ROWS[i], err.text);
        assert_int_equal(network.prefix, 99);
    }
    struct network network;
    assert_int_equal(network_parse((struct slice){"10.0.0.1\0002", 10}, &network, NULL), -EINVAL);
}

static void test_unix_socket_is_local(void **state)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct network_address address = network_address_of((const struct sockaddr *)&un);
    struct network local;

    (void)state;
    assert_int_equal(network_parse(SLICE("127.0.0.1"), &local, NULL), 0);
    assert_true(network_holds(&local, &address));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_holds),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_unix_socket_is_local),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

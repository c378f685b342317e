#pragma once
#include "CLinuxSystem.h"

#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <linux/veth.h>

// ---- netlink(7) ----

/// A NETLINK_ROUTE socket, close-on-exec, with extended acknowledgements, capped acks and strict checking.
int dormouse_netlink_open(int nonblocking);

/// The next datagram. Returns its true size, which is larger than `size` when it was cut. `sender` is the
/// port that sent it: 0 is the kernel.
ssize_t dormouse_netlink_receive(int fd, void *buffer, size_t size, uint32_t *sender);

ssize_t dormouse_netlink_send(int fd, const void *message, size_t size);
int dormouse_netlink_join(int fd, unsigned int group);

/// A receive that waits longer than this fails with EAGAIN.
int dormouse_socket_set_receive_timeout(int fd, unsigned int seconds);

// ---- Taps (Documentation/networking/tuntap.rst) ----

enum {
  DORMOUSE_TAP_VIRTIO_HEADER = 1,
  DORMOUSE_TAP_EXCLUSIVE = 2,
};

/// Attaches /dev/net/tun's open file to a tap without packet information header.
int dormouse_tap_attach(int fd, const char *name, unsigned int options);
int dormouse_tap_set_persistent(int fd, int persistent);
int dormouse_tap_set_owner(int fd, unsigned int user);
int dormouse_tap_set_offloads(int fd, unsigned int offloads);

/// The interface's name, of at most 15 bytes, and whether it is a tap (not a tun).
int dormouse_tap_name(int fd, char name[16], int *is_tap);

// ---- packet(7) ----

struct dormouse_packet {
  int interface;
  uint32_t captured;         // bytes in the buffer
  uint32_t original_length;  // bytes on the wire
  uint16_t vlan_tag;
  uint8_t has_vlan_tag;
  uint8_t checksum_pending;
  uint8_t type;  // PACKET_HOST, PACKET_OUTGOING ...
};

/// A raw packet socket that receives nothing yet: it has no protocol and no interface.
int dormouse_packet_open(void);

/// A filter that accepts all frames and cuts each to `length` bytes.
int dormouse_packet_set_snap_length(int fd, uint32_t length);

/// Beyond the system's limit where the caller may, up to it where not.
int dormouse_packet_set_receive_buffer(int fd, int size);
int dormouse_packet_set_flag(int fd, int option, int value);
int dormouse_packet_bind(int fd, int interface, uint16_t protocol);
int dormouse_packet_statistics(int fd, uint32_t *received, uint32_t *dropped);

/// Does not wait. Returns 0, or -1 and errno.
int dormouse_packet_receive(int fd, void *buffer, size_t size, struct dormouse_packet *packet);

/// Does not wait. `interface` 0 is the one that the socket is bound to.
ssize_t dormouse_packet_send(int fd, int interface, const void *frame, size_t size);

// ---- network_namespaces(7): these act on the calling thread alone ----

int dormouse_unshare_network(void);
int dormouse_join_network(int fd);
int dormouse_bind_mount(const char *source, const char *target, int recursive);
int dormouse_make_shared(const char *target);
int dormouse_unmount_lazily(const char *target);

// ---- poll(2) with no wait: 1, 0, or -1 and errno ----

int dormouse_readable_now(int fd);

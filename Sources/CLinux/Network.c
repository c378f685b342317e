#define _GNU_SOURCE
#include "CLinuxNetwork.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

// ---- netlink ----

int dormouse_netlink_open(int nonblocking) {
  int type = SOCK_RAW | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0);
  int fd = socket(AF_NETLINK, type, NETLINK_ROUTE);
  if (fd == -1) return -1;
  const int options[] = {NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK};
  const int on = 1;
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    if (setsockopt(fd, SOL_NETLINK, options[i], &on, sizeof on) == -1) goto fail;
  }
  struct sockaddr_nl address = {.nl_family = AF_NETLINK};
  if (bind(fd, (struct sockaddr *)&address, sizeof address) == -1) goto fail;
  return fd;

fail:;
  int reason = errno;
  close(fd);
  errno = reason;
  return -1;
}

ssize_t dormouse_netlink_receive(int fd, void *buffer, size_t size, uint32_t *sender) {
  struct sockaddr_nl address = {0};
  socklen_t length = sizeof address;
  ssize_t result = recvfrom(fd, buffer, size, MSG_TRUNC, (struct sockaddr *)&address, &length);
  *sender = address.nl_pid;
  return result;
}

ssize_t dormouse_netlink_send(int fd, const void *message, size_t size) {
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  return sendto(fd, message, size, 0, (struct sockaddr *)&kernel, sizeof kernel);
}

int dormouse_netlink_join(int fd, unsigned int group) {
  return setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group);
}

int dormouse_socket_set_receive_timeout(int fd, unsigned int seconds) {
  struct timeval limit = {.tv_sec = seconds};
  return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

// ---- taps ----

int dormouse_tap_attach(int fd, const char *name, unsigned int options) {
  struct ifreq request = {0};
  if (strlen(name) >= sizeof request.ifr_name) {
    errno = ENAMETOOLONG;
    return -1;
  }
  strcpy(request.ifr_name, name);
  // The flags' highest bit is the sign of the C field.
  request.ifr_flags = (short)(IFF_TAP | IFF_NO_PI |
                              (options & DORMOUSE_TAP_VIRTIO_HEADER ? IFF_VNET_HDR : 0) |
                              (options & DORMOUSE_TAP_EXCLUSIVE ? IFF_TUN_EXCL : 0));
  return ioctl(fd, TUNSETIFF, &request);
}

int dormouse_tap_set_persistent(int fd, int persistent) {
  return ioctl(fd, TUNSETPERSIST, (unsigned long)persistent);
}

int dormouse_tap_set_owner(int fd, unsigned int user) {
  return ioctl(fd, TUNSETOWNER, (unsigned long)user);
}

int dormouse_tap_set_offloads(int fd, unsigned int offloads) {
  return ioctl(fd, TUNSETOFFLOAD, (unsigned long)offloads);
}

int dormouse_tap_name(int fd, char name[16], int *is_tap) {
  struct ifreq request = {0};
  if (ioctl(fd, TUNGETIFF, &request) == -1) return -1;
  memcpy(name, request.ifr_name, 16);
  name[15] = '\0';
  *is_tap = (request.ifr_flags & IFF_TAP) != 0;
  return 0;
}

// ---- packet sockets ----

int dormouse_packet_open(void) {
  return socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

int dormouse_packet_set_snap_length(int fd, uint32_t length) {
  struct sock_filter program[] = {BPF_STMT(BPF_RET | BPF_K, length)};
  struct sock_fprog filter = {.len = 1, .filter = program};
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter);
}

int dormouse_packet_set_receive_buffer(int fd, int size) {
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) == 0) return 0;
  if (errno != EPERM) return -1;
  return setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

int dormouse_packet_set_flag(int fd, int option, int value) {
  return setsockopt(fd, SOL_PACKET, option, &value, sizeof value);
}

int dormouse_packet_bind(int fd, int interface, uint16_t protocol) {
  struct sockaddr_ll address = {
      .sll_family = AF_PACKET, .sll_protocol = htons(protocol), .sll_ifindex = interface};
  return bind(fd, (struct sockaddr *)&address, sizeof address);
}

int dormouse_packet_statistics(int fd, uint32_t *received, uint32_t *dropped) {
  struct tpacket_stats statistics = {0};
  socklen_t length = sizeof statistics;
  if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &length) == -1) return -1;
  *received = statistics.tp_packets;
  *dropped = statistics.tp_drops;
  return 0;
}

int dormouse_packet_receive(int fd, void *buffer, size_t size, struct dormouse_packet *packet) {
  struct sockaddr_ll address = {0};
  union {
    struct cmsghdr aligned;
    char bytes[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
  } control;
  struct iovec part = {.iov_base = buffer, .iov_len = size};
  struct msghdr message = {
      .msg_name = &address,
      .msg_namelen = sizeof address,
      .msg_iov = &part,
      .msg_iovlen = 1,
      .msg_control = &control,
      .msg_controllen = sizeof control,
  };
  ssize_t length = recvmsg(fd, &message, MSG_DONTWAIT | MSG_TRUNC);
  if (length == -1) return -1;

  memset(packet, 0, sizeof *packet);
  packet->captured = (size_t)length < size ? (uint32_t)length : (uint32_t)size;
  packet->original_length = (uint32_t)length;
  packet->type = address.sll_pkttype;
  packet->interface = address.sll_ifindex;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_PACKET || header->cmsg_type != PACKET_AUXDATA ||
        header->cmsg_len < CMSG_LEN(sizeof(struct tpacket_auxdata))) {
      continue;
    }
    struct tpacket_auxdata extra;
    memcpy(&extra, CMSG_DATA(header), sizeof extra);
    packet->original_length = extra.tp_len;
    packet->has_vlan_tag = (extra.tp_status & TP_STATUS_VLAN_VALID) != 0;
    packet->vlan_tag = extra.tp_vlan_tci;
    packet->checksum_pending = (extra.tp_status & TP_STATUS_CSUMNOTREADY) != 0;
  }
  return 0;
}

ssize_t dormouse_packet_send(int fd, int interface, const void *frame, size_t size) {
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_ifindex = interface};
  return sendto(fd, frame, size, MSG_DONTWAIT | MSG_NOSIGNAL,
                interface == 0 ? NULL : (struct sockaddr *)&address,
                interface == 0 ? 0 : sizeof address);
}

// ---- network namespaces ----

int dormouse_unshare_network(void) { return unshare(CLONE_NEWNET); }

int dormouse_join_network(int fd) { return setns(fd, CLONE_NEWNET); }

int dormouse_bind_mount(const char *source, const char *target, int recursive) {
  return mount(source, target, "none", MS_BIND | (recursive ? MS_REC : 0), NULL);
}

int dormouse_make_shared(const char *target) {
  return mount("", target, "none", MS_SHARED | MS_REC, NULL);
}

int dormouse_unmount_lazily(const char *target) { return umount2(target, MNT_DETACH); }

// ---- poll ----

int dormouse_readable_now(int fd) {
  struct pollfd request = {.fd = fd, .events = POLLIN};
  int result = poll(&request, 1, 0);
  if (result <= 0) return result;
  if (request.revents & POLLIN) return 1;
  // Nothing to read and something wrong: not open, or a tap whose device was deleted.
  if (request.revents & (POLLNVAL | POLLERR)) {
    errno = request.revents & POLLNVAL ? EBADF : EBADFD;
    return -1;
  }
  return 0;
}

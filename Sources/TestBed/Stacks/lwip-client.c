// A TCP client on lwIP, whose stack is neither Linux's nor of its family: a connection has no timestamps,
// acknowledgements are delayed by a timer of 250 ms, windows move in steps of their own.
//
//   lwip-client TAP-DESCRIPTOR MAC ADDRESS GUEST PORT
//
// The addresses are both IPv4 or both IPv6. It connects and then does what each line of standard input
// says, answering each with one line:
//   send TEXT      sends the text              -> sent
//   receive N      receives N bytes            -> received TEXT
//   end            waits for the peer's FIN    -> ended
//   finish         sends a FIN                 -> finished
//   error          the socket's error          -> error NUMBER
//   probe          sends a keepalive as BSD's stacks do: with the byte before the next, whatever it was
//                                              -> probed
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lwip/api.h>
#include <lwip/etharp.h>
#include <lwip/ethip6.h>
#include <lwip/inet_chksum.h>
#include <lwip/ip.h>
#include <lwip/netif.h>
#include <lwip/prot/tcp.h>
#include <lwip/tcp.h>
#include <lwip/tcpip.h>

static int tap;
static struct netif interface;
static unsigned char hardware[6];

static err_t send_frame(struct netif *netif, struct pbuf *packet) {
  char frame[2048];
  (void)netif;
  if (packet->tot_len > sizeof frame) return ERR_BUF;
  pbuf_copy_partial(packet, frame, packet->tot_len, 0);
  return write(tap, frame, packet->tot_len) == packet->tot_len ? ERR_OK : ERR_IF;
}

static err_t start(struct netif *netif) {
  netif->name[0] = 'e';
  netif->name[1] = 't';
  netif->output = etharp_output;
  netif->output_ip6 = ethip6_output;
  netif->linkoutput = send_frame;
  netif->mtu = 1500;
  netif->hwaddr_len = sizeof hardware;
  memcpy(netif->hwaddr, hardware, sizeof hardware);
  netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_UP |
                 NETIF_FLAG_LINK_UP;
  return ERR_OK;
}

static void *read_frames(void *unused) {
  char frame[2048];
  (void)unused;
  for (;;) {
    ssize_t length = read(tap, frame, sizeof frame);
    if (length <= 0) exit(1);
    // Not from the pool, whose buffers are shorter in Debian's library than it believes.
    struct pbuf *packet = pbuf_alloc(PBUF_RAW, (u16_t)length, PBUF_RAM);
    if (packet == NULL) continue;
    pbuf_take(packet, frame, (u16_t)length);
    if (interface.input(packet, &interface) != ERR_OK) pbuf_free(packet);
  }
}

static void fail(const char *what, err_t error) {
  printf("failed %s %d\n", what, error);
  fflush(stdout);
  exit(1);
}

// Bytes that came and were not asked for yet.
static char pending[65536];
static size_t pending_length;

static err_t receive(struct netconn *connection) {
  struct netbuf *buffer;
  err_t error = netconn_recv(connection, &buffer);
  if (error != ERR_OK) return error;
  size_t length = netbuf_len(buffer);
  if (length > sizeof pending - pending_length) length = sizeof pending - pending_length;
  netbuf_copy(buffer, pending + pending_length, (u16_t)length);
  pending_length += length;
  netbuf_delete(buffer);
  return ERR_OK;
}

// lwIP's own keepalives have no payload.
static err_t probe(struct netconn *connection) {
  err_t error = ERR_MEM;
  LOCK_TCPIP_CORE();
  struct tcp_pcb *pcb = connection->pcb.tcp;
  struct pbuf *packet = pcb == NULL ? NULL : pbuf_alloc(PBUF_IP, TCP_HLEN + 1, PBUF_RAM);
  if (packet != NULL) {
    struct tcp_hdr *header = packet->payload;
    memset(header, 0, TCP_HLEN + 1);
    header->src = lwip_htons(pcb->local_port);
    header->dest = lwip_htons(pcb->remote_port);
    header->seqno = lwip_htonl(pcb->snd_nxt - 1);
    header->ackno = lwip_htonl(pcb->rcv_nxt);
    TCPH_HDRLEN_FLAGS_SET(header, TCP_HLEN / 4, TCP_ACK);
    header->wnd = lwip_htons((u16_t)(pcb->rcv_ann_wnd >> pcb->rcv_scale));
    header->chksum = ip_chksum_pseudo(packet, IP_PROTO_TCP, packet->tot_len, &pcb->local_ip,
                                      &pcb->remote_ip);
    error = ip_output_if(packet, &pcb->local_ip, &pcb->remote_ip, pcb->ttl, pcb->tos, IP_PROTO_TCP,
                         &interface);
    pbuf_free(packet);
  }
  UNLOCK_TCPIP_CORE();
  return error;
}

static void do_line(struct netconn *connection, char *line) {
  err_t error;
  if (strncmp(line, "send ", 5) == 0) {
    error = netconn_write(connection, line + 5, strlen(line + 5), NETCONN_COPY);
    if (error != ERR_OK) fail("send", error);
    printf("sent\n");
  } else if (strncmp(line, "receive ", 8) == 0) {
    size_t wanted = strtoul(line + 8, NULL, 10);
    if (wanted > sizeof pending) fail("receive", ERR_ARG);
    while (pending_length < wanted) {
      error = receive(connection);
      if (error != ERR_OK) fail("receive", error);
    }
    printf("received %.*s\n", (int)wanted, pending);
    pending_length -= wanted;
    memmove(pending, pending + wanted, pending_length);
  } else if (strcmp(line, "end") == 0) {
    do error = receive(connection);
    while (error == ERR_OK);
    if (error != ERR_CLSD) fail("end", error);
    printf("ended\n");
  } else if (strcmp(line, "finish") == 0) {
    error = netconn_shutdown(connection, 0, 1);
    if (error != ERR_OK) fail("finish", error);
    printf("finished\n");
  } else if (strcmp(line, "error") == 0) {
    printf("error %d\n", netconn_err(connection));
  } else if (strcmp(line, "probe") == 0) {
    error = probe(connection);
    if (error != ERR_OK) fail("probe", error);
    printf("probed\n");
  } else {
    fail("command", ERR_ARG);
  }
  fflush(stdout);
}

int main(int count, char **arguments) {
  if (count != 6) return 64;
  tap = atoi(arguments[1]);
  unsigned int bytes[6];
  ip4_addr_t mask, none;
  ip_addr_t address, guest;
  if (sscanf(arguments[2], "%x:%x:%x:%x:%x:%x", bytes, bytes + 1, bytes + 2, bytes + 3, bytes + 4,
             bytes + 5) != 6 ||
      !ipaddr_aton(arguments[3], &address) || !ipaddr_aton(arguments[4], &guest) ||
      IP_GET_TYPE(&address) != IP_GET_TYPE(&guest)) {
    return 64;
  }
  for (int index = 0; index < 6; index++) hardware[index] = (unsigned char)bytes[index];

  tcpip_init(NULL, NULL);
  IP4_ADDR(&mask, 255, 255, 255, 0);
  IP4_ADDR(&none, 0, 0, 0, 0);
  LOCK_TCPIP_CORE();
  const ip4_addr_t *ipv4 = IP_IS_V6(&address) ? &none : ip_2_ip4(&address);
  struct netif *added = netif_add(&interface, ipv4, &mask, &none, NULL, start, tcpip_input);
  if (added != NULL) {
    netif_set_default(&interface);
    if (IP_IS_V6(&address)) {
      // In use at once, without a look for others that have it.
      netif_ip6_addr_set(&interface, 0, ip_2_ip6(&address));
      netif_ip6_addr_set_state(&interface, 0, IP6_ADDR_PREFERRED);
    }
  }
  UNLOCK_TCPIP_CORE();
  pthread_t reader;
  if (added == NULL || pthread_create(&reader, NULL, read_frames, NULL) != 0) return 1;

  struct netconn *connection = netconn_new(IP_IS_V6(&address) ? NETCONN_TCP_IPV6 : NETCONN_TCP);
  if (connection == NULL) return 1;
  err_t error = netconn_connect(connection, &guest, (u16_t)atoi(arguments[5]));
  if (error != ERR_OK) fail("connect", error);
  LOCK_TCPIP_CORE();
  // Keepalives like those of a firewall's other side: one a second.
  connection->pcb.tcp->so_options |= SOF_KEEPALIVE;
  connection->pcb.tcp->keep_idle = 1000;
  connection->pcb.tcp->keep_intvl = 1000;
  connection->pcb.tcp->keep_cnt = 3;
  UNLOCK_TCPIP_CORE();
  printf("connected\n");
  fflush(stdout);

  char line[4096];
  while (fgets(line, sizeof line, stdin) != NULL) {
    line[strcspn(line, "\n")] = 0;
    do_line(connection, line);
  }
  return 0;
}

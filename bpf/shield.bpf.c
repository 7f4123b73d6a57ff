// SPDX-License-Identifier: (MIT OR GPL-2.0-only)
/*
 * The shield: drops what the node would drop, before it costs anything, and hands the rest to
 * the node's sockets without a way through the kernel's network stack.
 *
 * What is not a datagram to the node always passes: ARP, neighbour discovery, ICMP, ssh. So the
 * program can only ever cost a machine its mixline traffic.
 *
 * It proves nothing about a sender, since anybody can write any source address. It makes sure
 * that those who are unknown can take only a bounded share of the node's time.
 */
#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "shield.h"

/* "More fragments" and the offset, in IPv4 (RFC 791) and in the header of IPv6 (RFC 8200, 4.5). */
#define IPV4_FRAGMENT 0x3fff
#define IPV4_OFFSET 0x1fff
#define IPV6_OFFSET 0xfff8

/* Extension headers that are looked through; an honest packet has two at most. */
#define EXTENSIONS_MAX 6

/* Receive queues that can have a socket. */
#define QUEUES_MAX 64

/*
 * Strangers that are remembered. When there are more, one that was silent for long is forgotten
 * and starts with a full budget: what holds then is the budget of all strangers together.
 */
#define SOURCES_MAX 65536

/* Attempts to take from a budget while other CPUs do the same. */
#define TAKES_MAX 8

const volatile struct shield_settings settings = {};

/* The sockets, by receive queue. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, QUEUES_MAX);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

/*
 * Who is known. The sizes are set before loading. All entries are allocated at once: the full
 * table refuses, it never waits for memory.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct shield_address);
	__type(value, __u8);
} peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct shield_endpoint);
	__type(value, __u8);
} clients SEC(".maps");

/*
 * The budget of each stranger, as the time when it is whole again. It is one for all CPUs: the
 * network card spreads a source that varies its port over all queues, and a budget for each CPU
 * would be worth a multiple.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SOURCES_MAX);
	__type(key, struct shield_address);
	__type(value, __u64);
} sources SEC(".maps");

/*
 * The budget of all strangers together, likewise. A share for each CPU would need no atomic
 * operation, but gives one busy queue only a part of the budget. This word is written as often
 * as the budget allows and no more; over the budget it is only read, so a flood does not make
 * CPUs fight for it.
 */
__u64 strangers_whole_at;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SHIELD_REASONS);
	__type(key, enum shield_reason);
	__type(value, __u64);
} counters SEC(".maps");

/*
 * Headers at places that are the same in every frame are read there. What is behind a header of
 * varying length is copied by the kernel: to compute where it is, or how far from the end, with
 * addresses would take one more privilege, CAP_PERFMON. Honest nodes send no such header.
 */

/* A datagram in a frame, and how it is wrapped. */
struct datagram {
	struct shield_endpoint source;
	struct shield_endpoint destination;
	/* Where UDP begins in the frame. */
	__u32 udp_at;
	/* What IP carries, what UDP says: headers of UDP included. */
	__u32 ip_bytes;
	__u32 udp_bytes;
	bool fragment;
	bool options;
};

static __always_inline struct shield_address mapped(__be32 ipv4)
{
	return (struct shield_address){ { 0, 0, bpf_htonl(0xffff), ipv4 } };
}

static __always_inline bool is_ipv4(const struct shield_address *address)
{
	return !address->words[0] && !address->words[1] && address->words[2] == bpf_htonl(0xffff);
}

static __always_inline bool same(const struct shield_address *a,
				 const volatile struct shield_address *b)
{
	return a->words[0] == b->words[0] && a->words[1] == b->words[1] &&
	       a->words[2] == b->words[2] && a->words[3] == b->words[3];
}

/* Whether IP has room for a whole header of UDP; what that says, if so. */
static __always_inline bool read_udp(struct datagram *datagram, const struct udphdr *udp)
{
	if (datagram->ip_bytes < sizeof(*udp))
		return false;
	datagram->source.port = udp->source;
	datagram->destination.port = udp->dest;
	datagram->udp_bytes = bpf_ntohs(udp->len);
	return true;
}

static __always_inline bool read_udp_in_place(struct datagram *datagram, struct xdp_md *frame,
					      const struct udphdr *udp)
{
	if ((void *)(udp + 1) > (void *)(long)frame->data_end)
		return false;
	return read_udp(datagram, udp);
}

static __always_inline bool read_udp_by_copy(struct datagram *datagram, struct xdp_md *frame)
{
	struct udphdr udp;

	if (bpf_xdp_load_bytes(frame, datagram->udp_at, &udp, sizeof(udp)))
		return false;
	return read_udp(datagram, &udp);
}

/* `at` is where IP begins, in memory; `datagram->udp_at`, in the frame. */
static __always_inline bool read_ipv4(struct datagram *datagram, struct xdp_md *frame, void *at)
{
	struct iphdr *ip = at;
	__u32 header_bytes, total_bytes;

	if ((void *)(ip + 1) > (void *)(long)frame->data_end || ip->version != 4 || ip->ihl < 5)
		return false;
	/* Later fragments have no port. Without the first, which is dropped, nobody gets them. */
	if (ip->protocol != IPPROTO_UDP || ip->frag_off & bpf_htons(IPV4_OFFSET))
		return false;
	header_bytes = ip->ihl * 4;
	total_bytes = bpf_ntohs(ip->tot_len);
	if (total_bytes < header_bytes)
		return false;
	datagram->udp_at += header_bytes;
	datagram->ip_bytes = total_bytes - header_bytes;
	datagram->fragment = ip->frag_off & bpf_htons(IPV4_FRAGMENT);
	datagram->options = ip->ihl > 5;
	datagram->source.address = mapped(ip->saddr);
	datagram->destination.address = mapped(ip->daddr);
	if (datagram->options)
		return read_udp_by_copy(datagram, frame);
	return read_udp_in_place(datagram, frame, (void *)(ip + 1));
}

/* The headers behind which Linux finds a datagram without IPsec. */
static __always_inline bool skip_extensions(struct datagram *datagram, struct xdp_md *frame,
					    __u8 next)
{
	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		/* Type of the next, length in eights behind the first; or reserved and an offset. */
		struct { __u8 next, eights; __be16 offset; __u32 rest; } extension;
		__u32 bytes = sizeof(extension);

		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING &&
		    next != IPPROTO_DSTOPTS && next != IPPROTO_FRAGMENT)
			break;
		if (bpf_xdp_load_bytes(frame, datagram->udp_at, &extension, sizeof(extension)))
			return false;
		if (next == IPPROTO_FRAGMENT) {
			if (extension.offset & bpf_htons(IPV6_OFFSET))
				return false;
			datagram->fragment = true;
		} else {
			bytes += extension.eights * 8;
		}
		if (datagram->ip_bytes < bytes)
			return false;
		datagram->udp_at += bytes;
		datagram->ip_bytes -= bytes;
		datagram->options = true;
		next = extension.next;
	}
	return next == IPPROTO_UDP;
}

/* The same of IPv6. */
static __always_inline bool read_ipv6(struct datagram *datagram, struct xdp_md *frame, void *at)
{
	struct ipv6hdr *ip = at;

	if ((void *)(ip + 1) > (void *)(long)frame->data_end || ip->version != 6)
		return false;
	datagram->udp_at += sizeof(*ip);
	datagram->ip_bytes = bpf_ntohs(ip->payload_len);
	__builtin_memcpy(&datagram->source.address, &ip->saddr, sizeof(ip->saddr));
	__builtin_memcpy(&datagram->destination.address, &ip->daddr, sizeof(ip->daddr));
	/* A form for sockets, not for the wire; here it would look like IPv4. */
	if (is_ipv4(&datagram->destination.address))
		return false;
	if (ip->nexthdr == IPPROTO_UDP)
		return read_udp_in_place(datagram, frame, (void *)(ip + 1));
	return skip_extensions(datagram, frame, ip->nexthdr) && read_udp_by_copy(datagram, frame);
}

/* Finds a datagram with the beginning of its UDP, behind at most one VLAN tag. */
static __always_inline bool read(struct datagram *datagram, struct xdp_md *frame)
{
	void *end = (void *)(long)frame->data_end;
	struct ethhdr *ethernet = (void *)(long)frame->data;
	struct { __be16 tag, type; } *vlan = (void *)(ethernet + 1);
	void *at = ethernet + 1;
	__be16 type;

	if ((void *)(ethernet + 1) > end)
		return false;
	type = ethernet->h_proto;
	datagram->udp_at = sizeof(*ethernet);
	if (type == bpf_htons(ETH_P_8021Q)) {
		if ((void *)(vlan + 1) > end)
			return false;
		type = vlan->type;
		datagram->udp_at += sizeof(*vlan);
		at = vlan + 1;
	}
	if (type == bpf_htons(ETH_P_IP))
		return read_ipv4(datagram, frame, at);
	if (type == bpf_htons(ETH_P_IPV6))
		return read_ipv6(datagram, frame, at);
	return false;
}

/*
 * The address counts where the node binds one: a machine that forwards for others, or that has
 * another program on the same port of another address, loses nothing.
 */
static __always_inline bool is_for_node(const struct datagram *datagram)
{
	const struct shield_endpoint *destination = &datagram->destination;
	/* Both are read: an address that depends on the frame would take CAP_PERFMON. */
	bool any_ipv4 = settings.any_ipv4, any_ipv6 = settings.any_ipv6;

	if (destination->port != settings.node.port)
		return false;
	if (same(&destination->address, &settings.node.address))
		return true;
	return is_ipv4(&destination->address) ? any_ipv4 : any_ipv6;
}

/*
 * What the kernel's stack would not believe either: a broadcast, loopback, multicast or
 * unspecified source, IPv4 inside IPv6 on the wire, the receiver itself.
 */
static __always_inline bool is_martian(const struct datagram *datagram, bool ipv4)
{
	const struct shield_address *source = &datagram->source.address;
	__u8 first;

	if (same(source, &datagram->destination.address))
		return true;
	if (ipv4) {
		first = bpf_ntohl(source->words[3]) >> 24;
		return first == 0 || first == 127 || first >= 224;
	}
	first = bpf_ntohl(source->words[0]) >> 24;
	return first == 0xff || (!source->words[0] && !source->words[1]);
}

/* The time at which `budget` would be whole again if something happened now. */
static __always_inline __u64 after(const volatile struct shield_budget *budget, __u64 whole_at,
				   __u64 now)
{
	return (whole_at > now ? whole_at : now) + budget->interval_ns;
}

static __always_inline bool allows(const volatile struct shield_budget *budget, __u64 whole_at,
				   __u64 now)
{
	return after(budget, whole_at, now) - now <= budget->depth_ns;
}

/*
 * Takes one from a budget; other CPUs may do so at the same time, and none of it is lost or
 * given twice. (The generic cell rate algorithm: one word says all about a token bucket.)
 */
static __always_inline bool take(const volatile struct shield_budget *budget, __u64 *whole_at,
				 __u64 now)
{
	for (int i = 0; i < TAKES_MAX; i++) {
		__u64 seen = *(volatile __u64 *)whole_at;

		if (!allows(budget, seen, now))
			return false;
		if (__sync_val_compare_and_swap(whole_at, seen, after(budget, seen, now)) == seen)
			return true;
	}
	/* Others took each time: so there is little left, and dropping errs on the right side. */
	return false;
}

/* The half of an IPv6 address that names a network: one machine has all addresses of a /64. */
static __always_inline struct shield_address network_of(struct shield_address address, bool ipv4)
{
	if (!ipv4)
		address.words[2] = address.words[3] = 0;
	return address;
}

static __always_inline bool take_of_source(const struct shield_address *source, __u64 now)
{
	__u64 *whole_at = bpf_map_lookup_elem(&sources, source);
	__u64 first = after(&settings.source, 0, now);

	if (whole_at)
		return take(&settings.source, whole_at, now);
	/* If another CPU has just entered it, this one is not counted. */
	bpf_map_update_elem(&sources, source, &first, BPF_NOEXIST);
	return allows(&settings.source, 0, now);
}

/*
 * First a look whether all strangers together have something left: a flood from invented
 * addresses ends here, and cannot fill the table of sources faster than the budget lets it.
 * Then the source's own budget, so that a source over it uses up nothing of the others'. Only
 * then is anything taken from all.
 */
static __always_inline enum shield_reason judge_stranger(const struct shield_address *address,
							 bool ipv4)
{
	struct shield_address source = network_of(*address, ipv4);
	__u64 now = bpf_ktime_get_ns();

	if (!allows(&settings.strangers, strangers_whole_at, now))
		return SHIELD_STRANGERS_BUDGET;
	if (!take_of_source(&source, now))
		return SHIELD_SOURCE_BUDGET;
	if (!take(&settings.strangers, &strangers_whole_at, now))
		return SHIELD_STRANGERS_BUDGET;
	return SHIELD_STRANGER;
}

/* What needs no table comes first. */
static __always_inline enum shield_reason judge(const struct datagram *datagram,
						struct xdp_md *frame)
{
	bool ipv4 = is_ipv4(&datagram->destination.address);

	if (datagram->fragment)
		return SHIELD_FRAGMENT;
	if (datagram->options)
		return SHIELD_OPTIONS;
	/* Behind IP there may be padding of ethernet, behind UDP nothing. */
	if (datagram->ip_bytes != datagram->udp_bytes ||
	    datagram->udp_at + datagram->ip_bytes > bpf_xdp_get_buff_len(frame))
		return SHIELD_LENGTHS;
	if (datagram->udp_bytes < sizeof(struct udphdr) + settings.datagram_bytes)
		return SHIELD_SHORT;
	if (datagram->udp_bytes > sizeof(struct udphdr) + settings.datagram_bytes)
		return SHIELD_LONG;
	if (is_martian(datagram, ipv4))
		return SHIELD_MARTIAN;
	if (bpf_map_lookup_elem(&peers, &datagram->source.address))
		return SHIELD_PEER;
	if (bpf_map_lookup_elem(&clients, &datagram->source))
		return SHIELD_CLIENT;
	return judge_stranger(&datagram->source.address, ipv4);
}

static __always_inline void count(enum shield_reason reason)
{
	__u64 *counter = bpf_map_lookup_elem(&counters, &reason);

	if (counter)
		(*counter)++;
}

/* The node's socket of the frame's queue; without, that of the kernel, which is slow but there. */
static __always_inline int let_in(const struct xdp_md *frame)
{
	int verdict = bpf_redirect_map(&sockets, frame->rx_queue_index, XDP_PASS);

	if (verdict != XDP_REDIRECT)
		count(SHIELD_UNSERVED);
	return verdict;
}

SEC("xdp")
int shield(struct xdp_md *frame)
{
	struct datagram datagram = {};
	enum shield_reason reason = SHIELD_FOREIGN;

	if (read(&datagram, frame) && is_for_node(&datagram))
		reason = judge(&datagram, frame);
	count(reason);
	switch (reason) {
	case SHIELD_FOREIGN:
		return XDP_PASS;
	case SHIELD_PEER:
	case SHIELD_CLIENT:
	case SHIELD_STRANGER:
		return let_in(frame);
	default:
		return XDP_DROP;
	}
}

/* The kernel lends its helpers to programs under the GPL; this one is under MIT as well. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* SPDX-License-Identifier: (MIT OR GPL-2.0-only) */
/*
 * What the shield in the kernel and the node in user space both know.
 *
 * The C program includes this file. The Rust types come out of the program's BTF, so there is
 * no second copy of anything.
 */
#ifndef MIXLINE_SHIELD_H
#define MIXLINE_SHIELD_H

#include <linux/types.h>

/* What becomes of a frame, and why: a counter each, of which a frame raises one. */
enum shield_reason {
	/* Left to the kernel: not a datagram to the node. */
	SHIELD_FOREIGN,

	/* Let in, and who sent it. */
	SHIELD_PEER,
	SHIELD_CLIENT,
	SHIELD_STRANGER,

	/* Dropped, in the order in which frames are looked at. */
	/* The first part of a packet; nodes send none in parts. */
	SHIELD_FRAGMENT,
	/* Behind IPv4 options or IPv6 extension headers, which nodes do not send. */
	SHIELD_OPTIONS,
	/* The lengths of the frame, of IP and of UDP contradict each other. */
	SHIELD_LENGTHS,
	/* The datagram is shorter or longer than every datagram is. */
	SHIELD_SHORT,
	SHIELD_LONG,
	/* From an address that no machine can have, to which an answer must not go. */
	SHIELD_MARTIAN,
	/* All strangers together send too much. */
	SHIELD_STRANGERS_BUDGET,
	/* This stranger sends too much. */
	SHIELD_SOURCE_BUDGET,

	/*
	 * Beside another: let in, but to the kernel's socket, for want of one of ours on the
	 * frame's queue.
	 */
	SHIELD_UNSERVED,

	/* How many there are. */
	SHIELD_REASONS,
};

/* An IPv6 address, or an IPv4 address inside IPv6 (::ffff:0:0/96), in network byte order. */
struct shield_address {
	__be32 words[4];
};

/* One end of a datagram. Keys of maps have no padding, so `zero` is written out. */
struct shield_endpoint {
	struct shield_address address;
	__be16 port;
	__u16 zero;
};

/*
 * How often something may happen: once every `interval_ns`, and as often at once as `depth_ns`
 * holds intervals.
 */
struct shield_budget {
	__u64 interval_ns;
	__u64 depth_ns;
};

/* Fixed when the program is loaded: the kernel compiles it for these values. */
struct shield_settings {
	/* The budget of each stranger, and of all together. */
	struct shield_budget source;
	struct shield_budget strangers;
	/* Where the node receives. */
	struct shield_endpoint node;
	/* Whether it does on every address of a family; `node.address` says nothing then. */
	__u8 any_ipv4;
	__u8 any_ipv6;
	/* The length of every datagram. */
	__u16 datagram_bytes;
};

#endif

extends SceneTree
# A Godot 3.2 PacketPeerUDP client against an echo server: datagrams of mixed
# sizes, every byte of every echo compared, lost ones sent again.
#
#   PACKETPEER_PORT=4433 godot3-server -s client.gd
#
# PACKETPEER_HOST (127.0.0.1) is an address, not a name: connect_to_host does
# not resolve. PACKETPEER_SECONDS (30) is the deadline. Prints `PASS ...` and
# exits 0, or prints `FAIL ...` and exits 1. Believe an exit code of 0 only
# together with the PASS line: Godot also exits 0 on a script it cannot parse.

const NOTABLE_SIZES = [1, 2, 3, 511, 512, 513, 1199, 1200, 1201, 1471, 1472, 1473, 8192, 32768, 60000]
const SIZE_STRIDE = 1009

# A PacketPeerUDP keeps unread packets in a 64 KiB ring, each behind a header, and
# drops what does not fit: with more than this in flight, echoes would be lost.
const RING_BYTES = 65535
const RING_HEADER_BYTES = 24
const MAX_IN_FLIGHT = 16

const RESEND_MSEC = 250

var peer = PacketPeerUDP.new()
var deadline = 0
var done = false

# No two datagrams have the same size, so the size of an echo says which one it
# is, even where there is no room for a number in it.
var payloads = {}
var unsent = []
var in_flight = {} # size -> when it was sent last

var answered = 0
var resent = 0
var duplicates = 0
var empty = 0


func _init():
	# A headless Godot sleeps 6.9 ms a frame (low-processor mode); 1 ms is enough.
	OS.low_processor_usage_mode_sleep_usec = 1000
	deadline = OS.get_ticks_msec() + 1000 * int(setting("PACKETPEER_SECONDS", "30"))

	for size in NOTABLE_SIZES + range(7, 60000, SIZE_STRIDE):
		payloads[size] = pattern(size)
	unsent = payloads.keys()
	seed(1)
	unsent.shuffle() # small between large, in the same order every time

	var host = setting("PACKETPEER_HOST", "127.0.0.1")
	var port = int(setting("PACKETPEER_PORT", "0"))
	var error = peer.connect_to_host(host, port)
	if error != OK:
		conclude("connect_to_host(%s, %d) gave error %d" % [host, port, error])


func _idle(_delta):
	# Godot runs one more frame after quit(), which must not change the verdict.
	if done:
		return
	# The count is -1 after an ICMP error; what was lost is sent again.
	while not done and peer.get_available_packet_count() > 0:
		receive(peer.get_packet())
	if done:
		return
	if answered == payloads.size():
		conclude("")
	elif OS.get_ticks_msec() > deadline:
		conclude("deadline passed, unanswered sizes: %s" % [in_flight.keys() + unsent])
	else:
		send_again()
		send_more()


func receive(packet):
	var size = packet.size()
	if peer.get_packet_error() != OK:
		conclude("get_packet gave error %d" % peer.get_packet_error())
	elif size == 0:
		empty += 1
	elif not payloads.has(size):
		conclude("got %d bytes, a size that was never sent" % size)
	elif packet != payloads[size]:
		conclude("the echo of %d bytes differs at byte %d" % [size, first_difference(packet, payloads[size])])
	elif in_flight.erase(size):
		answered += 1
	else:
		duplicates += 1
		if duplicates > resent:
			conclude("%d bytes echoed twice though sent once" % size)


func send_again():
	var now = OS.get_ticks_msec()
	for size in in_flight:
		if now - in_flight[size] >= RESEND_MSEC:
			resent += 1
			in_flight[size] = now
			peer.put_packet(payloads[size]) # a failure is a loss like any other


func send_more():
	var room = RING_BYTES
	for size in in_flight:
		room -= size + RING_HEADER_BYTES
	while unsent.size() > 0 and in_flight.size() < MAX_IN_FLIGHT:
		var size = unsent.back()
		room -= size + RING_HEADER_BYTES
		if room < 0:
			return
		unsent.pop_back()
		in_flight[size] = OS.get_ticks_msec()
		peer.put_packet(payloads[size])


func pattern(size):
	var bytes = PoolByteArray()
	bytes.resize(size)
	for i in size:
		bytes[i] = (size * 31 + i * 7 + (i >> 8) * 13) & 255
	return bytes


func first_difference(a, b):
	for i in a.size():
		if a[i] != b[i]:
			return i
	return -1


func setting(name, default):
	return OS.get_environment(name) if OS.has_environment(name) else default


func conclude(problem):
	done = true
	var counts = "%d of %d datagrams echoed, %d resent, %d duplicate, %d empty" % [answered, payloads.size(), resent, duplicates, empty]
	print("PASS " + counts if problem == "" else "FAIL %s; %s" % [problem, counts])
	quit(0 if problem == "" else 1)

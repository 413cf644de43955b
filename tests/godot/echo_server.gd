extends SceneTree
# An echo server on Godot 3.2's own UDPServer, for our clients to talk to.
#
#   PACKETPEER_PORT=4433 godot3-server -s echo_server.gd
#
# Listens on 127.0.0.1 and prints `listening`; ends by itself after
# PACKETPEER_SECONDS (30) with exit code 0, or at once with 1 where listen
# failed. The port must be given: 3.2 cannot tell which one port 0 became.

var server = UDPServer.new()
# The server forgets a peer as soon as nobody else refers to it; the next
# datagram from that address would then be a new connection.
var peers = []
var deadline = 0
var done = false

var echoed = 0


func _init():
	# A headless Godot sleeps 6.9 ms a frame (low-processor mode), long enough for
	# a burst to fill a peer's 64 KiB ring.
	OS.low_processor_usage_mode_sleep_usec = 1000
	deadline = OS.get_ticks_msec() + 1000 * int(setting("PACKETPEER_SECONDS", "30"))

	# Only before listen: later, raising the limit throws the pending ones away.
	server.set_max_pending_connections(64)
	var port = int(setting("PACKETPEER_PORT", "0"))
	# Fails on a port held exclusively; one held by another UDPServer is shared
	# without a word, for 3.2 sets SO_REUSEADDR.
	var error = server.listen(port, "127.0.0.1") if port > 0 else ERR_INVALID_PARAMETER
	if error != OK:
		conclude("FAIL listen on port %d gave error %d" % [port, error], 1)
	else:
		print("listening")


func _idle(_delta):
	# Godot runs one more frame after quit(), which must not change the verdict.
	if done:
		return
	server.poll()
	while server.is_connection_available():
		peers.append(server.take_connection())
	for peer in peers:
		while peer.get_available_packet_count() > 0:
			peer.put_packet(peer.get_packet()) # an empty one is not sent: OK from Godot, silence on the wire
			echoed += 1
	if OS.get_ticks_msec() > deadline:
		conclude("PASS %d peers, %d datagrams echoed" % [peers.size(), echoed], 0)


func setting(name, default):
	return OS.get_environment(name) if OS.has_environment(name) else default


func conclude(line, code):
	done = true
	print(line)
	quit(code)

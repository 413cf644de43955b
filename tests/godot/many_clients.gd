extends SceneTree
# Many Godot 3.2 PacketPeerUDP clients in one process against an echo server:
# each must get all of its own datagrams back and nobody else's.
#
#   PACKETPEER_PORT=4433 godot3-server -s many_clients.gd
#
# PACKETPEER_HOST (127.0.0.1), PACKETPEER_CLIENTS (100), PACKETPEER_ROUNDS (20)
# datagrams a client, PACKETPEER_SECONDS (30) as the deadline. The verdict is
# given as in client.gd: believe exit code 0 only with the PASS line.

const RESEND_MSEC = 100

var clients = []
var rounds = 0
var deadline = 0
var done = false

var finished = 0
var received = 0
var resent = 0
var duplicates = 0
var empty = 0


class Client:
	var peer = PacketPeerUDP.new()
	var index = 0
	var current = 0 # the round that waits for its echo
	var sent_at = 0

	func text(number):
		# Lengths differ from client to client, so a mixed-up buffer shows, too.
		return "%d:%d:%s" % [index, number, "x".repeat(index * 5)]

	func send():
		sent_at = OS.get_ticks_msec()
		peer.put_packet(text(current).to_ascii())


func _init():
	# A headless Godot sleeps 6.9 ms a frame (low-processor mode); 1 ms is enough.
	OS.low_processor_usage_mode_sleep_usec = 1000
	rounds = int(setting("PACKETPEER_ROUNDS", "20"))
	deadline = OS.get_ticks_msec() + 1000 * int(setting("PACKETPEER_SECONDS", "30"))

	var host = setting("PACKETPEER_HOST", "127.0.0.1")
	var port = int(setting("PACKETPEER_PORT", "0"))
	for index in int(setting("PACKETPEER_CLIENTS", "100")):
		var client = Client.new()
		client.index = index
		var error = client.peer.connect_to_host(host, port)
		if error != OK:
			conclude("client %d: connect_to_host(%s, %d) gave error %d" % [index, host, port, error])
			return
		clients.append(client)

	# All at once: more than a server admits at one poll. It drops the others
	# without an answer, and they have to knock again.
	for client in clients:
		client.send()


func _idle(_delta):
	# Godot runs one more frame after quit(), which must not change the verdict.
	if done:
		return
	for client in clients:
		# The count is -1 after an ICMP error; what was lost is sent again.
		while not done and client.peer.get_available_packet_count() > 0:
			receive(client, client.peer.get_packet())
		if done:
			return
		if client.current < rounds and OS.get_ticks_msec() - client.sent_at >= RESEND_MSEC:
			resent += 1
			client.send()
	if finished == clients.size():
		conclude("")
	elif OS.get_ticks_msec() > deadline:
		conclude("deadline passed, unanswered clients: %s" % [unanswered()])


func receive(client, packet):
	if client.peer.get_packet_error() != OK:
		conclude("client %d: get_packet gave error %d" % [client.index, client.peer.get_packet_error()])
		return
	if packet.size() == 0:
		empty += 1
		return
	var echo = packet.get_string_from_ascii()
	var parts = echo.split(":")
	var number = int(parts[1]) if parts.size() == 3 else -1
	if number < 0 or number > client.current or echo != client.text(number):
		conclude("client %d waits for its round %d but got '%s'" % [client.index, client.current, echo.left(40)])
	elif number < client.current or client.current == rounds:
		duplicates += 1
		if duplicates > resent:
			conclude("client %d: round %d echoed twice though sent once" % [client.index, number])
	else:
		received += 1
		client.current += 1
		if client.current < rounds:
			client.send()
		else:
			finished += 1


func unanswered():
	var indices = []
	for client in clients:
		if client.current < rounds:
			indices.append(client.index)
	return indices


func setting(name, default):
	return OS.get_environment(name) if OS.has_environment(name) else default


func conclude(problem):
	done = true
	var counts = "%d of %d clients, %d of %d datagrams echoed, %d resent, %d duplicate, %d empty" % [finished, clients.size(), received, clients.size() * rounds, resent, duplicates, empty]
	print("PASS " + counts if problem == "" else "FAIL %s; %s" % [problem, counts])
	quit(0 if problem == "" else 1)

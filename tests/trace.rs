//! The life of a server and its clients over a bad link, as one number that is the same on every system.
//!
//! Everything that a program can see goes into it, in the order in which it is seen: who is taken, who is ready, who has
//! ended, who is listed, what is received where and when. An order that came from a keyed hash, from the width of a word
//! or from the order of its bytes would show here.

use std::collections::BTreeMap;

use packetpeer::identity::Switch;
use packetpeer::limits::AfterClose;
use packetpeer::sim::{Link, LinkEnd, Network};
use packetpeer::stats::ServerStats;
use packetpeer::{CloseReason, Limits, PacketPeerUdp, PeerId, SendMode, ServerConfig, UdpServer};

mod util;

use util::{SERVER, Trace, millis};

const CLIENTS: u8 = 32;
const FRAMES: u32 = 3_600;

struct Server {
    server: UdpServer,
    // Sorted: this test must not bring an order of its own that changes.
    players: BTreeMap<PeerId, PacketPeerUdp>,
    ids: Vec<PeerId>,
    ended: Vec<(PeerId, CloseReason)>,
}

impl Server {
    fn new(network: &Network) -> Self {
        let limits = Limits::new()
            .max_pending_connections(2)
            .max_peers(26)
            .idle_timeout(Some(millis(700)))
            .after_close(AfterClose::Refuse(millis(300)));
        let config = ServerConfig::new().limits(limits).send_mode(SendMode::OnFlush);
        let mut server = UdpServer::with_transport(config, network.host(SERVER.ip())).unwrap();
        server.listen(SERVER).unwrap();
        Self { server, players: BTreeMap::new(), ids: Vec::new(), ended: Vec::new() }
    }

    fn frame(&mut self, frame: u32, trace: &mut Trace) {
        let report = self.server.poll().unwrap();
        trace.add_text(&format!("{frame}: {} {} {}", report.received, report.queued, report.idle));
        // One in a frame, so that some wait.
        if let Some(mut player) = self.server.take_connection() {
            trace.add_text(&format!("taken {} {:?}", player.id(), player.remote_addr()));
            // Each third client gets a socket of its own, in the order in which sockets are polled.
            if player.remote_addr().is_some_and(|addr| addr.ip().to_string().ends_with(['2', '5', '8'])) {
                let own = self.server.dedicate_socket(&mut player, Switch::WithClient).unwrap();
                player.put_packet(format!("go to {}", own.port()).as_bytes()).unwrap();
            }
            self.players.insert(player.id(), player);
        }
        self.ids.clear();
        self.server.ready(&mut self.ids);
        for id in &self.ids {
            Self::serve(&mut self.players, *id, trace);
        }
        self.ended.clear();
        self.server.take_ended(&mut self.ended);
        for (id, reason) in &self.ended {
            trace.add_text(&format!("ended {id} {reason}"));
            self.players.remove(id);
        }
        if frame % 10 == 0 {
            let world: Vec<_> = self.server.peers().map(|(id, addr)| format!("{id} {addr}")).collect();
            trace.add_text(&world.concat());
            self.server.broadcast(world.concat().as_bytes()).unwrap();
        }
        let report = self.server.flush().unwrap();
        trace.add_text(&format!("{report:?}"));
    }

    fn serve(players: &mut BTreeMap<PeerId, PacketPeerUdp>, id: PeerId, trace: &mut Trace) {
        // Who is ready and not taken yet is served when it is.
        let Some(player) = players.get_mut(&id) else { return };
        trace.add_text(&format!("ready {id}"));
        while let Ok(Some(packet)) = player.get_packet() {
            trace.add_text(&packet.sender().to_string());
            trace.add(&packet);
            if packet.starts_with(b"bye") {
                player.close();
                return;
            }
            player.put_packet(&packet).unwrap();
        }
    }
}

struct Client {
    number: u8,
    dice: fastrand::Rng,
    peer: Option<PacketPeerUdp>,
    leaves: bool,
}

impl Client {
    fn frame(&mut self, network: &Network, trace: &mut Trace) {
        let Some(peer) = &mut self.peer else {
            if self.dice.u32(..60) == 0 {
                let mut peer = PacketPeerUdp::with_transport(network.host([10, 0, 1, self.number]));
                peer.connect_to_host(SERVER).unwrap();
                peer.put_packet(b"hello").unwrap();
                self.peer = Some(peer);
            }
            return;
        };
        peer.poll().unwrap();
        while let Some(packet) = peer.get_packet().unwrap() {
            trace.add(&[self.number]);
            trace.add(&packet);
            if let Some(port) = packet.strip_prefix(b"go to ") {
                let port: u16 = std::str::from_utf8(port).unwrap().parse().unwrap();
                peer.connect_to_host((SERVER.ip(), port)).unwrap();
            }
        }
        for _ in 0..self.dice.u32(..3) {
            let length = self.dice.u8(..).into();
            peer.put_packet(&vec![self.number; length]).unwrap();
        }
        if self.leaves {
            // Until the server has heard it, or not; and what comes after is from one who has left.
            peer.put_packet(b"bye").unwrap();
        }
        match self.dice.u32(..300) {
            0 => self.peer = None,
            1 => self.leaves = true,
            2..100 if self.leaves => self.peer = None,
            _ => {}
        }
        self.leaves &= self.peer.is_some();
    }
}

fn life(seed: u64) -> (u64, ServerStats) {
    let network = Network::with_seed(seed);
    let link = Link::WIFI.loss_ppm(20_000).duplicate_ppm(10_000);
    network.set_link(LinkEnd::Any, LinkEnd::Any, link);
    let mut trace = Trace::new();
    let mut server = Server::new(&network);
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut clients: Vec<_> =
        (0..CLIENTS).map(|number| Client { number, dice: dice.fork(), peer: None, leaves: false }).collect();
    for frame in 0..FRAMES {
        for client in &mut clients {
            client.frame(&network, &mut trace);
        }
        network.advance(millis(16));
        server.frame(frame, &mut trace);
    }
    let mut stats = server.server.stats();
    // The pool's affair, and not the life's.
    stats.pool_misses = 0;
    trace.add_text(&stats.to_string());
    trace.add_text(&network.link_stats(LinkEnd::Any, LinkEnd::Any).to_string());
    println!("seed {seed}: trace {:#018x}\n{stats}", trace.hash());
    (trace.hash(), stats)
}

/// The constants are for other systems to be compared with: they have to get the very same. A change of the library that
/// changes an order on purpose changes them too, and alike everywhere.
#[test]
fn the_same_seed_makes_the_same_life_on_every_system() {
    for (seed, expected) in [(1, 0x3238_7528_5e36_439d), (2, 0xf5ac_d7e6_45e0_e198)] {
        let (hash, stats) = life(seed);
        assert_eq!(hash, expected, "{hash:#018x}");
        assert!(stats.connections.idle > 10 && stats.connections.closed > 10, "{stats}");
        assert!(stats.drops.pending_full > 0 && stats.drops.refused > 0, "{stats}");
    }
}

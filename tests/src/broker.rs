//! A Kafka broker of one's own: controller and broker in one process, on loopback, for as long as the test runs.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use crate::jvm::Jvm;

/// How long the broker may take until it answers.
const START_WAIT: Duration = Duration::from_secs(120);

/// Runs the command that follows until its own standard input ends: when the test is gone, however it went, so is the
/// broker with its files.
const KEEPER: &str =
    r#"directory=$1; shift; "$@" < /dev/null & while read -r _; do :; done; kill -9 $!; wait; rm -rf "$directory""#;

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    address: String,
    /// Its standard input keeps the broker alive.
    _keeper: Child,
}

impl Broker {
    /// The broker of this test binary, started on first use; `None`, and a line that says so, where there is no JVM.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub fn shared() -> Option<&'static Broker> {
        static BROKER: OnceLock<Option<Broker>> = OnceLock::new();
        BROKER.get_or_init(|| Jvm::find().map(Broker::start)).as_ref()
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    fn start(jvm: &Jvm) -> Broker {
        let directory = tempfile::tempdir().expect("a temporary folder").keep();
        let (port, controller) = (free_port(), free_port());
        let properties = directory.join("server.properties");
        fs::write(&properties, configuration(&directory, port, controller)).expect("a file in the temporary folder");
        let properties = properties.to_str().expect("a temporary folder's path is text");
        let id = jvm.run("kafka.tools.StorageTool", &["random-uuid"]).out;
        jvm.run("kafka.tools.StorageTool", &["format", "--cluster-id", id.trim(), "--config", properties]);

        let said = directory.join("said.txt");
        let output = || fs::File::create(&said).expect("a file in the temporary folder");
        let broker = jvm.command("kafka.Kafka", &[properties]);
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&directory)
            .arg(broker.get_program())
            .arg("-Xmx512m")
            .args(broker.get_args())
            .stdin(Stdio::piped())
            .stdout(output())
            .stderr(output())
            .spawn()
            .expect("a shell");
        let since = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let is_gone = keeper.try_wait().expect("the state of a child").is_some();
            if is_gone || since.elapsed() > START_WAIT {
                panic!("the broker did not come up: {}", fs::read_to_string(&said).unwrap_or_default());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Broker { address: format!("127.0.0.1:{port}"), _keeper: keeper }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    listener.local_addr().expect("it is bound").port()
}

/// One replica of everything, and short waits: a member that is gone and a transaction that was left open are noticed
/// within seconds.
fn configuration(directory: &Path, port: u16, controller: u16) -> String {
    let logs = directory.join("log");
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=BROKER://127.0.0.1:{port}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
log.dirs={}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
log.cleaner.enable=false
",
        logs.display()
    )
}

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
const KEEPER: &str = r#"directory=$1; shift; "$@" < /dev/null & echo $! > "$directory/pid"; while read -r _; do :; done; kill -9 $!; wait; rm -rf "$directory""#;

/// For answers, not for speed: little is compiled, little memory held.
const FRUGAL: &[&str] = &["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];

/// What `kafka-server-start.sh` asks of Java.
const KAFKAS_OWN: &[&str] = &[
    "-Xmx1G",
    "-Xms1G",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
];

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    address: String,
    id: u32,
    /// Its standard input keeps the broker alive.
    keeper: Child,
}

impl Broker {
    /// The broker of this test binary, started on first use; `None`, and a line that says so, where there is no JVM.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub fn shared() -> Option<&'static Broker> {
        static BROKER: OnceLock<Option<Broker>> = OnceLock::new();
        BROKER.get_or_init(|| Jvm::find().map(|jvm| Broker::start(jvm, &std::env::temp_dir(), FRUGAL))).as_ref()
    }

    /// A broker as Kafka's own script starts it, with its files in a folder below `parent`, until it is dropped.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    #[must_use]
    pub fn for_measuring(jvm: &Jvm, parent: &Path) -> Broker {
        Broker::start(jvm, parent, KAFKAS_OWN)
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    fn start(jvm: &Jvm, parent: &Path, java: &[&str]) -> Broker {
        let directory = tempfile::tempdir_in(parent).expect("a folder in the given one").keep();
        let (port, controller) = (free_port(), free_port());
        let properties = directory.join("server.properties");
        fs::write(&properties, configuration(&directory, port, controller)).expect("a file in the temporary folder");
        let properties = properties.to_str().expect("a temporary folder's path is text");
        let id = jvm.run("kafka.tools.StorageTool", &["random-uuid"]).out;
        jvm.run("kafka.tools.StorageTool", &["format", "--cluster-id", id.trim(), "--config", properties]);

        let said = directory.join("said.txt");
        let output = || fs::File::create(&said).expect("a file in the temporary folder");
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&directory)
            .arg("java")
            .args(java)
            .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", jvm.classpath(), "kafka.Kafka", properties])
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
        let id =
            fs::read_to_string(directory.join("pid")).expect("the keeper has written it before the broker listens");
        Broker { address: format!("127.0.0.1:{port}"), id: id.trim().parse().expect("a number"), keeper }
    }
}

impl Drop for Broker {
    /// Waits until the broker and its files are gone.
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
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

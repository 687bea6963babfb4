//! Word count as a process of its own on a Kafka cluster: started, killed, frozen and thawed by the tests beside it.

use std::{
    env,
    io::{BufRead, BufReader, Read, stderr, stdin},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use log_store_kafka::KafkaClient;
use serde::{Deserialize, Serialize};
use streams_dsl::prelude::*;
use tracing_subscriber::EnvFilter;

/// What the process is told, as JSON in this variable.
const ORDERS: &str = "STREAMS_TESTS_APPLICATION";

/// A member that does not answer is dropped after this; Kafka's default is 45 s.
const SESSION_MS: &str = "3000";

/// A process gets ready, or closes, within this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// One application on a cluster.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Application {
    pub(crate) broker: String,
    /// `application.id`; its topics are `<id>-in` and `<id>-out`.
    pub(crate) id: String,
    pub(crate) exactly_once: bool,
    pub(crate) threads: usize,
}

impl Application {
    pub(crate) fn input(&self) -> String {
        format!("{}-in", self.id)
    }

    pub(crate) fn output(&self) -> String {
        format!("{}-out", self.id)
    }

    pub(crate) fn client(&self) -> KafkaClient {
        KafkaClient::new(&self.broker)
            .with_property("session.timeout.ms", SESSION_MS)
            .with_property("heartbeat.interval.ms", "300")
    }

    /// Words of each line → groups → counts, every one of which is shown.
    pub(crate) fn topology(&self) -> Topology {
        let builder = StreamsBuilder::new();
        builder
            .stream::<(), String>(self.input())
            .flat_map_values(|(), line| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
            .group_by(|(), word| word.clone())
            .count_with(Materialized::new("counts").with_caching_disabled())
            .to_stream()
            .to(self.output());
        builder.build().unwrap()
    }

    /// The application in this process, with its state in `directory`; not started.
    pub(crate) fn streams(&self, directory: &Path) -> Streams {
        let guarantee =
            if self.exactly_once { ProcessingGuarantee::ExactlyOnceV2 } else { ProcessingGuarantee::AtLeastOnce };
        let config = StreamsConfig::builder(&*self.id)
            .processing_guarantee(guarantee)
            .num_stream_threads(self.threads)
            .commit_interval(Duration::from_millis(100))
            .state_dir(directory)
            .build()
            .unwrap();
        Streams::new(self.topology(), config, Arc::new(self.client())).unwrap()
    }

    /// A process of the application with its state in `directory`, running.
    pub(crate) fn start(&self, directory: &Path) -> Process {
        let orders = (self, directory);
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--ignored", "--exact", "application::a_process_of_the_application", "--nocapture"])
            .env(ORDERS, serde_json::to_string(&orders).unwrap());
        Process::start(command)
    }
}

/// A running application: its standard input keeps it going.
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    said: mpsc::Receiver<String>,
}

impl Process {
    /// Starts a program and waits until it says `RUNNING`.
    pub(crate) fn start(mut command: Command) -> Process {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let (tell, said) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let process = Process { child, stdin, said };
        process.wait_for("RUNNING");
        process
    }

    fn wait_for(&self, word: &str) {
        let mut heard = Vec::new();
        // The test runner's own words may stand before ours.
        while heard.last().is_none_or(|line: &String| !line.ends_with(word)) {
            match self.said.recv_timeout(PATIENCE) {
                Ok(line) => heard.push(line),
                Err(error) => panic!("it did not say {word} ({error}), but: {heard:#?}"),
            }
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets it commit, close and end.
    pub(crate) fn close(mut self) {
        drop(self.stdin.take());
        self.wait_for("CLOSED");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "what the other tests start as a process"]
fn a_process_of_the_application() {
    let Ok(orders) = env::var(ORDERS) else { return };
    tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).with_writer(stderr).init();
    let (application, directory): (Application, std::path::PathBuf) = serde_json::from_str(&orders).unwrap();
    let streams = application.streams(&directory);
    streams.start().unwrap();
    streams.wait_for(State::Running, PATIENCE).unwrap();
    println!("\nRUNNING");
    stdin().read_to_end(&mut Vec::new()).unwrap();
    assert!(streams.close(PATIENCE), "not closed");
    assert!(streams.error().is_none(), "{:?}", streams.error());
    println!("CLOSED");
}

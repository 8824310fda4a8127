//! A child process whose end and whose output are both known; killed when dropped.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    readers: Vec<JoinHandle<()>>,
}

/// What programs wrote, to both streams.
pub(crate) type Output = Arc<Mutex<Vec<u8>>>;

impl Process {
    /// Starts a program whose output is added to `output`.
    pub(crate) fn start(command: &mut Command, output: &Output) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the gateway was built");
        let (stdout, stderr) = (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
        Self { child, readers: vec![collect(stdout, Arc::clone(output)), collect(stderr, Arc::clone(output))] }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the process is ours").is_some()
    }

    /// SIGKILL, and the end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the process is ours");
        self.child.wait().expect("the process is ours");
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("the process is ours and was not waited for");
    }

    /// SIGSTOP: the process is there and does nothing, until [`Self::resume`].
    pub(crate) fn pause(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).expect("the process is ours and was not waited for");
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).expect("the process is ours and was not waited for");
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// SIGHUP.
    pub(crate) fn hang_up(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::HUP).expect("the process is ours and was not waited for");
    }

    /// How the process ended, once everything that it wrote was read.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        let status = eventually("the gateway's end", async || self.child.try_wait().expect("the process is ours")).await;
        for reader in self.readers.drain(..) {
            reader.join().expect("nothing in it panics");
        }
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Copies a pipe to `output` until the process at its other end is gone.
fn collect(mut pipe: impl Read + Send + 'static, output: Output) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut piece = [0; 8192];
        while let Ok(read @ 1..) = pipe.read(&mut piece) {
            output.lock().expect("nobody panics while holding this").extend_from_slice(&piece[..read]);
        }
    })
}

/// What was written so far.
pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.lock().expect("nobody panics while holding this")).into_owned()
}

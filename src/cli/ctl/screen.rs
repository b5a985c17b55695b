//! A terminal that is drawn anew until a key or a signal ends it.

use std::io::{self, Read, Write};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// The other screen, without a cursor; lines that are too long are cut off.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
/// All that [`ENTER`] does, undone.
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Lines of a terminal that does not tell.
const USUAL_ROWS: u16 = 24;

/// The terminal, which is as it was before when this is dropped.
pub(super) struct Screen {
    keys: Option<Keys>,
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    resize: Signal,
}

/// Something that a screen has to answer.
pub(super) enum Event {
    /// It is to end.
    Quit,
    /// The terminal has another size.
    Resized,
}

impl Screen {
    /// Takes the terminal that standard output is. Without one as standard input there are no keys, and Ctrl-C ends it.
    pub(super) fn open() -> io::Result<Self> {
        let screen = Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            resize: signal(SignalKind::window_change())?,
            keys: Keys::open().ok(),
        };
        write(ENTER)?;
        Ok(screen)
    }

    /// Lines that fit.
    pub(super) fn rows() -> usize {
        let rows = tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_row);
        usize::from(if rows == 0 { USUAL_ROWS } else { rows })
    }

    /// Shows as many lines of the text as fit, and nothing else.
    pub(super) fn draw(&self, text: &str) -> io::Result<()> {
        let lines: Vec<_> = text.lines().take(Self::rows()).collect();
        // Over what was there, line by line: a screen that is emptied first flickers.
        write(&format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n")))
    }

    /// Waits for a key, a signal or another size.
    pub(super) async fn event(&mut self) -> Event {
        let quit = async {
            match &mut self.keys {
                Some(keys) => keys.quit().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = quit => Event::Quit,
            _ = self.interrupt.recv() => Event::Quit,
            _ = self.terminate.recv() => Event::Quit,
            _ = self.hangup.recv() => Event::Quit,
            _ = self.resize.recv() => Event::Resized,
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing any more.
        let _ = write(LEAVE);
    }
}

/// Keys one by one and unseen.
struct Keys {
    before: Termios,
    quit: oneshot::Receiver<()>,
}

impl Keys {
    fn open() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut modes = before.clone();
        modes
            .local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO);
        // Stopped or ended by these, it would leave the terminal as it is now.
        modes.special_codes[SpecialCodeIndex::VSUSP] = 0;
        modes.special_codes[SpecialCodeIndex::VQUIT] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &modes)?;
        let (typed, quit) = oneshot::channel();
        let keys = Self { before, quit };
        // Nothing but the end of the process ends a read of the terminal.
        std::thread::Builder::new()
            .name("keys".into())
            .spawn(|| wait_for_q(typed))?;
        Ok(keys)
    }

    /// Returns at a `q`, and never when nobody can type any more.
    async fn quit(&mut self) {
        if (&mut self.quit).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

fn wait_for_q(typed: oneshot::Sender<()>) {
    let q = |byte: &io::Result<u8>| byte.as_ref().is_ok_and(|byte| *byte == b'q');
    let mut bytes = io::stdin().lock().bytes().take_while(io::Result::is_ok);
    if bytes.any(|byte| q(&byte)) {
        let _ = typed.send(());
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

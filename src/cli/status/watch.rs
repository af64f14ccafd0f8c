//! `--watch`: statuses until a signal, redrawn in place on a terminal and one after the other elsewhere.

use std::io::IsTerminal as _;
use std::pin::pin;
use std::time::Duration;

use super::screen::{Event, Screen};
use crate::client::Failure;
use crate::environment;
use crate::exit_code::Exit;
use crate::pb::GetStatusResponse;
use crate::signal::Signals;
use crate::terminal::{Format, print_error};

/// Where the statuses go.
#[derive(Debug)]
enum View {
    Screen(Box<Screen>),
    Lines,
}

/// Shows the statuses that `ask` gets until a signal or the end of the reader. Only a failure of the first one ends it: a broker may
/// restart. Without a terminal, `print` prints one, and returns false once the reader has closed its end.
pub(super) async fn follow<A>(
    ask: impl Fn() -> A,
    interval: Duration,
    format: Format,
    print: impl Fn(&GetStatusResponse) -> anyhow::Result<bool>,
) -> anyhow::Result<Exit>
where
    A: Future<Output = Result<GetStatusResponse, Failure>>,
{
    let mut signals = Signals::listen()?;
    let status = tokio::select! {
        status = ask() => status,
        () = signals.received() => return Ok(Exit::Success),
    };
    if let Err(failure) = &status {
        print_error(failure);
        return Ok(failure.into());
    }
    let mut view = View::open(format)?;
    let mut status = Some(status);
    while let Some(shown) = status {
        if !view.show(shown, &print)? || view.during(tokio::time::sleep(interval), &mut signals).await?.is_none() {
            break;
        }
        status = view.during(ask(), &mut signals).await?;
    }
    Ok(Exit::Success)
}

impl View {
    fn open(format: Format) -> anyhow::Result<Self> {
        let is_dumb = environment::variable("TERM").is_none_or(|terminal| terminal == "dumb");
        let is_screen = format == Format::Text && std::io::stdout().is_terminal() && !is_dumb;
        if is_screen { Screen::open().map(Box::new).map(Self::Screen) } else { Ok(Self::Lines) }
    }

    /// Shows a status, or why there is none. Returns false if the reader has closed its end.
    fn show(
        &mut self,
        status: Result<GetStatusResponse, Failure>,
        print: impl Fn(&GetStatusResponse) -> anyhow::Result<bool>,
    ) -> anyhow::Result<bool> {
        match (self, status) {
            (Self::Screen(screen), Ok(status)) => screen.draw(status),
            (Self::Screen(screen), Err(failure)) => screen.draw_problem(&failure.to_string()),
            (Self::Lines, Ok(status)) => print(&status),
            (Self::Lines, Err(failure)) => {
                print_error(&failure);
                Ok(true)
            }
        }
    }

    /// Waits for a result and follows the terminal meanwhile. `None`: a signal, or the end of the reader.
    async fn during<T>(&mut self, wait: impl Future<Output = T>, signals: &mut Signals) -> anyhow::Result<Option<T>> {
        let mut wait = pin!(wait);
        loop {
            let event = tokio::select! {
                result = &mut wait => return Ok(Some(result)),
                () = signals.received() => return Ok(None),
                event = self.event() => event,
            };
            if let Self::Screen(screen) = self
                && !screen.follow(event)?
            {
                return Ok(None);
            }
        }
    }

    async fn event(&mut self) -> Event {
        match self {
            Self::Screen(screen) => screen.event().await,
            Self::Lines => std::future::pending().await,
        }
    }
}

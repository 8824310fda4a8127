//! What happened, and whether it was allowed to happen: the one judge of every test in which something breaks.
//!
//! A request counts as started before its first byte is written; a revocation as acknowledged once the whole 2xx was
//! read. Both instants are of this process' one monotonic clock. Then: **no request that started later than the bound
//! after an acknowledgement may reach an upstream with a token that it covers.** The bound is that of the gateway that
//! was asked: nothing where it is strict, `max_staleness` where it is a mirror.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

/// Names a token in a history.
pub(super) type TokenId = usize;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Allowed,
    /// 401 `revoked_token`.
    Revoked,
    /// 503 `revocation_unknown`.
    Unknown,
    /// Refused for another reason: status and code.
    Refused(u16, String),
    /// The connection could not be made or ended first. The upstream may have been reached.
    Lost,
}

/// One request with a token.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// By which the upstream knows it.
    pub(super) number: usize,
    pub(super) token: TokenId,
    pub(super) gateway: usize,
    pub(super) started: Instant,
    pub(super) answered: Instant,
    pub(super) outcome: Outcome,
}

/// Somebody had tokens revoked, as often as it took.
#[derive(Debug, Clone)]
pub(super) struct Revocation {
    pub(super) covers: Vec<TokenId>,
    pub(super) called: Instant,
    /// When, and by which gateway.
    pub(super) acknowledged: Option<(Instant, usize)>,
}

/// Everything that happened, in no particular order.
#[derive(Debug, Clone, Default)]
pub(super) struct Records {
    pub(super) tokens: usize,
    /// Tokens that no gateway issued.
    pub(super) forged: BTreeSet<TokenId>,
    pub(super) revocations: Vec<Revocation>,
    pub(super) requests: Vec<Request>,
}

/// Records that are still being written.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<Records>);

impl History {
    pub(super) fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock().expect("nobody panics while holding this")
    }

    /// A number for a token.
    pub(super) fn token(&self) -> TokenId {
        let mut records = self.records();
        records.tokens += 1;
        records.tokens - 1
    }

    /// A number for a token that nobody issued.
    pub(super) fn forged_token(&self) -> TokenId {
        let token = self.token();
        self.records().forged.insert(token);
        token
    }

    /// Somebody is about to ask for a revocation: its number.
    pub(super) fn called(&self, covers: Vec<TokenId>) -> usize {
        let mut records = self.records();
        records.revocations.push(Revocation { covers, called: Instant::now(), acknowledged: None });
        records.revocations.len() - 1
    }

    /// The whole of a 2xx was read.
    pub(super) fn acknowledged(&self, revocation: usize, gateway: usize) {
        let now = Instant::now();
        self.records().revocations[revocation].acknowledged = Some((now, gateway));
    }

    pub(super) fn asked(&self, request: Request) {
        self.records().requests.push(request);
    }

    /// How many revocations have been acknowledged.
    pub(super) fn acknowledgements(&self) -> usize {
        self.records().revocations.iter().filter(|revocation| revocation.acknowledged.is_some()).count()
    }
}

/// What must not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Violation {
    /// It reached the upstream although its token had been revoked that long before.
    Late { request: usize, gateway: usize, after: Duration },
    /// Nobody issued its token.
    Forged { request: usize },
    /// Nobody had asked for a revocation of its token.
    RevokedByNobody { request: usize },
    /// It was refused, and reached the upstream all the same.
    ForwardedAndRefused { request: usize, outcome: Outcome },
    /// It was answered with 200 without having reached the upstream.
    AnsweredByNobody { request: usize },
    /// A refusal that nothing here explains.
    Unexpected { request: usize, gateway: usize, status: u16, code: String },
}

/// What a history shows beyond what must not happen.
#[derive(Debug, Clone, Default)]
pub(super) struct Report {
    pub(super) violations: Vec<Violation>,
    pub(super) acknowledged: usize,
    pub(super) unacknowledged: usize,
    pub(super) allowed: usize,
    pub(super) revoked: usize,
    pub(super) unknown: usize,
    pub(super) refused: usize,
    pub(super) lost: usize,
    /// The longest time for which a gateway let nobody in.
    pub(super) longest_refusal: Duration,
    /// Of acknowledged revocations at the gateways that did not acknowledge them, by whether the gateway is a mirror:
    /// from the acknowledgement until the first refusal started,
    pub(super) first_refusals: BTreeMap<bool, Vec<Duration>>,
    /// and until the last request started that was let in; nothing if there was none.
    pub(super) last_admissions: BTreeMap<bool, Vec<Duration>>,
}

/// Judges a history: `bounds` are the gateways', `forwarded` the requests that the upstream saw, `explained` the codes
/// of refusals that this history explains by itself.
pub(super) fn judge(records: &Records, bounds: &[Duration], forwarded: &BTreeSet<usize>, explained: &[&str]) -> Report {
    let mut called: BTreeMap<TokenId, Instant> = BTreeMap::new();
    let mut ended: BTreeMap<TokenId, Instant> = BTreeMap::new();
    for revocation in &records.revocations {
        for token in &revocation.covers {
            let first = called.entry(*token).or_insert(revocation.called);
            *first = revocation.called.min(*first);
            if let Some((at, _)) = revocation.acknowledged {
                let first = ended.entry(*token).or_insert(at);
                *first = at.min(*first);
            }
        }
    }
    let mut report = Report::default();
    for request in &records.requests {
        let number = request.number;
        let reached = forwarded.contains(&number);
        let mut violated = |violation| report.violations.push(violation);
        if reached || request.outcome == Outcome::Allowed {
            if records.forged.contains(&request.token) {
                violated(Violation::Forged { request: number });
            }
            let after = ended.get(&request.token).map(|ended| request.started.saturating_duration_since(*ended));
            if let Some(after) = after.filter(|after| *after > bounds[request.gateway]) {
                violated(Violation::Late { request: number, gateway: request.gateway, after });
            }
        }
        match &request.outcome {
            Outcome::Allowed if !reached => violated(Violation::AnsweredByNobody { request: number }),
            Outcome::Allowed | Outcome::Lost => {}
            outcome if reached => violated(Violation::ForwardedAndRefused { request: number, outcome: outcome.clone() }),
            // A clock that is behind issues tokens from before a revocation that was there first.
            Outcome::Revoked if explained.contains(&"revoked_token") => {}
            Outcome::Revoked if called.get(&request.token).is_none_or(|called| *called > request.answered) => {
                violated(Violation::RevokedByNobody { request: number });
            }
            Outcome::Refused(status, code) if !records.forged.contains(&request.token) && !explained.contains(&code.as_str()) => {
                violated(Violation::Unexpected {
                    request: number,
                    gateway: request.gateway,
                    status: *status,
                    code: code.clone(),
                });
            }
            _ => {}
        }
        *report.count(&request.outcome) += 1;
    }
    report.acknowledged = records.revocations.iter().filter(|revocation| revocation.acknowledged.is_some()).count();
    report.unacknowledged = records.revocations.len() - report.acknowledged;
    report.longest_refusal = longest_refusal(records, &called, bounds.len());
    report.measure(records, bounds);
    report
}

/// Over all gateways, the longest time between the answers to two requests that were let in one after the other, of
/// those whose tokens nobody revoked; including what lies before the first and after the last.
fn longest_refusal(records: &Records, called: &BTreeMap<TokenId, Instant>, gateways: usize) -> Duration {
    let of_the_innocent = |request: &&Request| !called.contains_key(&request.token) && !records.forged.contains(&request.token);
    let mut longest = Duration::ZERO;
    for gateway in 0..gateways {
        let requests = records.requests.iter().filter(|request| request.gateway == gateway).filter(of_the_innocent);
        let mut requests: Vec<_> = requests.collect();
        requests.sort_by_key(|request| request.answered);
        let mut refused_since = None;
        for request in requests {
            if request.outcome == Outcome::Allowed {
                refused_since = None;
            } else {
                let since = *refused_since.get_or_insert(request.started);
                longest = longest.max(request.answered - since);
            }
        }
    }
    longest
}

impl Report {
    fn count(&mut self, outcome: &Outcome) -> &mut usize {
        match outcome {
            Outcome::Allowed => &mut self.allowed,
            Outcome::Revoked => &mut self.revoked,
            Outcome::Unknown => &mut self.unknown,
            Outcome::Refused(..) => &mut self.refused,
            Outcome::Lost => &mut self.lost,
        }
    }

    /// How soon acknowledged revocations were in force elsewhere.
    fn measure(&mut self, records: &Records, bounds: &[Duration]) {
        let mut of_token: BTreeMap<TokenId, Vec<&Request>> = BTreeMap::new();
        for request in &records.requests {
            of_token.entry(request.token).or_default().push(request);
        }
        for revocation in &records.revocations {
            let Some((at, by)) = revocation.acknowledged else { continue };
            let covered = || revocation.covers.iter().flat_map(|token| of_token.get(token).into_iter().flatten());
            for gateway in (0..bounds.len()).filter(|gateway| *gateway != by) {
                let later = covered().filter(|request| request.gateway == gateway && request.started >= at);
                let (mut first_refusal, mut last_admission) = (None, Duration::ZERO);
                for request in later {
                    let after = request.started - at;
                    match request.outcome {
                        Outcome::Revoked | Outcome::Unknown => {
                            first_refusal = Some(first_refusal.map_or(after, |first: Duration| first.min(after)));
                        }
                        Outcome::Allowed => last_admission = last_admission.max(after),
                        _ => {}
                    }
                }
                if let Some(first_refusal) = first_refusal {
                    let mirror = !bounds[gateway].is_zero();
                    self.first_refusals.entry(mirror).or_default().push(first_refusal);
                    self.last_admissions.entry(mirror).or_default().push(last_admission);
                }
            }
        }
    }

    /// Adds what another history shows.
    pub(super) fn add(&mut self, other: Self) {
        self.violations.extend(other.violations);
        self.acknowledged += other.acknowledged;
        self.unacknowledged += other.unacknowledged;
        self.allowed += other.allowed;
        self.revoked += other.revoked;
        self.unknown += other.unknown;
        self.refused += other.refused;
        self.lost += other.lost;
        self.longest_refusal = self.longest_refusal.max(other.longest_refusal);
        for (all, more) in [(&mut self.first_refusals, other.first_refusals), (&mut self.last_admissions, other.last_admissions)]
        {
            for (mirror, durations) in more {
                all.entry(mirror).or_default().extend(durations);
            }
        }
    }

    /// Trials of promise P6: acknowledged revocations, each at each other gateway.
    pub(super) fn trials(&self) -> usize {
        self.first_refusals.values().map(Vec::len).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, unacknowledged, allowed, revoked, unknown, refused, lost, longest_refusal, .. } = self;
        writeln!(f, "revocations: {acknowledged} acknowledged, {unacknowledged} not; violations: {}", self.violations.len())?;
        let requests = allowed + revoked + unknown + refused + lost;
        writeln!(
            f,
            "requests: {requests}; allowed {allowed}, revoked {revoked}, unknown {unknown}, refused {refused}, lost {lost}; \
             longest refusal {longest_refusal:.1?}"
        )?;
        for (mirror, refusals) in &self.first_refusals {
            let name = if *mirror { "mirror" } else { "strict" };
            let admissions = &self.last_admissions[mirror];
            let late = admissions.iter().filter(|admission| !admission.is_zero()).count();
            writeln!(
                f,
                "{name}: {} trials at another gateway; acknowledgement to first refusal: median {:.1?}, p99 {:.1?}, longest {:.1?}; \
                 let in after it: {late}, at the latest {:.1?}",
                refusals.len(),
                quantile(refusals, 50),
                quantile(refusals, 99),
                quantile(refusals, 100),
                quantile(admissions, 100),
            )?;
        }
        Ok(())
    }
}

fn quantile(durations: &[Duration], percent: usize) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort();
    sorted.get(((sorted.len() * percent).div_ceil(100)).saturating_sub(1)).copied().unwrap_or_default()
}

/// The judge is judged: planted violations are found, at the instant where right becomes wrong.
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(1);
    const TICK: Duration = Duration::from_nanos(1);
    const STRICT: usize = 0;
    const MIRROR: usize = 1;

    struct Plot {
        begin: Instant,
        records: Records,
        forwarded: BTreeSet<usize>,
    }

    impl Plot {
        /// A token whose revocation is called for at 1 s and acknowledged at 2 s, by the strict gateway.
        fn new() -> Self {
            let begin = Instant::now();
            let at = |secs| begin + Duration::from_secs(secs);
            let revocation = Revocation { covers: vec![7], called: at(1), acknowledged: Some((at(2), STRICT)) };
            let records = Records { tokens: 9, revocations: vec![revocation], ..Records::default() };
            Self { begin, records, forwarded: BTreeSet::new() }
        }

        /// A request that takes half a second.
        fn asks(mut self, gateway: usize, token: TokenId, after: Duration, outcome: Outcome) -> Self {
            let (number, started) = (self.records.requests.len(), self.begin + after);
            if outcome == Outcome::Allowed {
                self.forwarded.insert(number);
            }
            let answered = started + Duration::from_millis(500);
            self.records.requests.push(Request { number, token, gateway, started, answered, outcome });
            self
        }

        fn report(&self) -> Report {
            judge(&self.records, &[Duration::ZERO, BOUND], &self.forwarded, &["expired_token"])
        }

        fn violations(&self) -> Vec<Violation> {
            self.report().violations
        }
    }

    const ACKNOWLEDGED: Duration = Duration::from_secs(2);

    #[test]
    fn a_request_may_start_until_the_acknowledgement_and_for_a_mirror_until_its_bound_after_it() {
        for (gateway, last) in [(STRICT, ACKNOWLEDGED), (MIRROR, ACKNOWLEDGED + BOUND)] {
            for good in [Duration::ZERO, last - TICK, last] {
                assert_eq!(Plot::new().asks(gateway, 7, good, Outcome::Allowed).violations(), [], "{gateway} {good:?}");
            }
            for late in [last + TICK, last + BOUND] {
                let expected = Violation::Late { request: 0, gateway, after: late - ACKNOWLEDGED };
                assert_eq!(Plot::new().asks(gateway, 7, late, Outcome::Allowed).violations(), [expected]);
            }
            assert_eq!(Plot::new().asks(gateway, 7, last + TICK, Outcome::Revoked).violations(), []);
            assert_eq!(Plot::new().asks(gateway, 7, last + TICK, Outcome::Unknown).violations(), []);
            assert_eq!(Plot::new().asks(gateway, 8, last + TICK, Outcome::Allowed).violations(), [], "another token");
        }
    }

    #[test]
    fn an_upstream_that_was_reached_late_counts_however_the_client_was_answered() {
        let mut plot = Plot::new().asks(STRICT, 7, ACKNOWLEDGED + TICK, Outcome::Lost);
        assert_eq!(plot.violations(), []);
        plot.forwarded.insert(0);
        assert_eq!(plot.violations(), [Violation::Late { request: 0, gateway: STRICT, after: TICK }]);
        let mut plot = Plot::new().asks(STRICT, 8, ACKNOWLEDGED, Outcome::Unknown);
        plot.forwarded.insert(0);
        assert_eq!(plot.violations(), [Violation::ForwardedAndRefused { request: 0, outcome: Outcome::Unknown }]);
        let mut plot = Plot::new().asks(STRICT, 8, ACKNOWLEDGED, Outcome::Allowed);
        plot.forwarded.clear();
        assert_eq!(plot.violations(), [Violation::AnsweredByNobody { request: 0 }]);
    }

    #[test]
    fn nobody_is_refused_for_a_revocation_that_nobody_asked_for() {
        let refused = |token, after| Plot::new().asks(MIRROR, token, after, Outcome::Revoked).violations();
        assert_eq!(refused(8, ACKNOWLEDGED), [Violation::RevokedByNobody { request: 0 }]);
        // The request takes half a second, the revocation is called for at one second.
        assert_eq!(refused(7, Duration::from_millis(500)), []);
        assert_eq!(refused(7, Duration::from_millis(500) - TICK), [Violation::RevokedByNobody { request: 0 }]);
    }

    #[test]
    fn a_revocation_that_was_not_acknowledged_promises_nothing() {
        let mut plot = Plot::new().asks(STRICT, 7, ACKNOWLEDGED + BOUND, Outcome::Allowed);
        plot.records.revocations[0].acknowledged = None;
        assert_eq!(plot.violations(), []);
    }

    #[test]
    fn forged_tokens_and_refusals_that_nothing_explains_are_found() {
        let mut plot = Plot::new().asks(STRICT, 3, Duration::ZERO, Outcome::Allowed);
        plot.records.forged.insert(3);
        assert_eq!(plot.violations(), [Violation::Forged { request: 0 }]);
        let refused = |code: &str| Outcome::Refused(401, code.to_owned());
        let plot = Plot::new().asks(STRICT, 8, Duration::ZERO, refused("expired_token"));
        assert_eq!(plot.violations(), []);
        let plot = Plot::new().asks(STRICT, 8, Duration::ZERO, refused("bad_token"));
        let expected = Violation::Unexpected { request: 0, gateway: STRICT, status: 401, code: "bad_token".to_owned() };
        assert_eq!(plot.violations(), [expected]);
    }

    #[test]
    fn figures_are_of_the_gateways_that_did_not_acknowledge() {
        let ms = Duration::from_millis;
        let plot = Plot::new()
            .asks(STRICT, 7, ms(2100), Outcome::Revoked)
            .asks(MIRROR, 7, ms(2050), Outcome::Allowed)
            .asks(MIRROR, 7, ms(2200), Outcome::Revoked)
            .asks(MIRROR, 7, ms(2300), Outcome::Revoked)
            .asks(MIRROR, 8, ms(3000), Outcome::Unknown)
            .asks(MIRROR, 8, ms(4000), Outcome::Unknown)
            .asks(MIRROR, 8, ms(5000), Outcome::Allowed);
        let report = plot.report();
        assert_eq!(report.first_refusals, BTreeMap::from([(true, vec![ms(200)])]));
        assert_eq!(report.last_admissions, BTreeMap::from([(true, vec![ms(50)])]));
        assert_eq!((report.acknowledged, report.allowed, report.revoked, report.unknown), (1, 2, 3, 2));
        assert_eq!(report.longest_refusal, ms(1500));
        assert_eq!((quantile(&[ms(3), ms(1), ms(2)], 50), quantile(&[ms(3), ms(1), ms(2)], 100)), (ms(2), ms(3)));
    }
}

//! Rego in this process, through `regorus` (`docs/adr/0010-rego.md`): pure, bounded in time, and without a way out.
//!
//! Modules and data are the operator's, what they decide about is hostile. One evaluator serves one decision at a time, so there is a stack of
//! them, and a worker that finds none makes another from the prepared one. An evaluator that failed is thrown away.

use std::cell::Cell;
use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, PolicyLengthConfig, Value, cache};
use serde_json::Value as Json;

use super::fault::Fault;
use crate::limits;

/// Prepared Rego and the rule that gives the verdict.
pub(super) struct Rego {
    prepared: Engine,
    idle: Mutex<Vec<Engine>>,
    rule: Box<str>,
    source_bytes: usize,
}

/// What a rule is read from.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Modules by the names of their files.
    pub(super) modules: Vec<(String, String)>,
    /// Documents by the path under `data` at which each is mounted.
    pub(super) data: Vec<(Vec<String>, Json)>,
}

thread_local! {
    /// The time of the decision under way on this thread, for `time.now_ns`: policies are told the time, they do not ask a clock.
    static NOW_NS: Cell<u64> = const { Cell::new(0) };
}

impl Rego {
    /// Reads the sources and finds the rule.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn prepare(sources: Sources, rule: &str) -> Result<Rego, String> {
        let patterns = limits::ACS_PATTERNS_MAX;
        cache::configure(cache::Config { regex: patterns, glob: patterns });
        let mut engine = Engine::new();
        engine.set_policy_length_config(length_config());
        engine.set_execution_timer_config(ExecutionTimerConfig {
            limit: limits::ACS_EVALUATION_MAX,
            check_interval: NonZeroU32::new(limits::ACS_EVALUATION_STEPS).unwrap_or(NonZeroU32::MIN),
        });
        // As `opa eval` has it: what a function cannot do with a value leaves the rule undefined.
        engine.set_strict_builtin_errors(false);
        // Kept and thrown away, so that a policy does not write to our standard error.
        engine.set_gather_prints(true);
        forbid(&mut engine).map_err(|error| error.to_string())?;
        let source_bytes = sources.modules.iter().map(|(_, text)| text.len()).sum();
        for (name, text) in sources.modules {
            engine.add_policy(name, text).map_err(|error| one_line(&error.to_string()))?;
        }
        for (mount, document) in sources.data {
            let wrap = |document: Json, name: String| Json::Object([(name, document)].into_iter().collect());
            let document = mount.into_iter().rev().fold(document, wrap);
            engine.add_data(Value::from(document)).map_err(|error| one_line(&error.to_string()))?;
        }
        engine.compile_with_entrypoint(&Arc::from(rule)).map_err(|error| one_line(&error.to_string()))?;
        Ok(Rego { prepared: engine, idle: Mutex::new(Vec::new()), rule: rule.into(), source_bytes })
    }

    /// What the rule is for an input, as JSON: sets are lists. Where no rule of that name holds there is nothing, and that is a failure.
    pub(super) fn evaluate(&self, input: Json, time_ns: u64) -> Result<Json, Fault> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut engine = idle.unwrap_or_else(|| self.prepared.clone());
        NOW_NS.set(time_ns);
        engine.set_input(Value::from(input));
        // An interpreter is large and its input hostile: should it panic, that is this call's denial and not the end of a worker.
        let evaluated = catch_unwind(AssertUnwindSafe(|| engine.eval_rule(self.rule.to_string())));
        let Ok(Ok(value)) = evaluated else { return Err(Fault::InvocationFailed) };
        let text = value.to_json_str();
        // What a policy printed is thrown away; the evaluator is kept only if that worked.
        if engine.take_prints().is_ok() {
            engine.set_input(Value::Undefined);
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < limits::ACS_EVALUATORS_MAX {
                idle.push(engine);
            }
        }
        let text = text.ok().filter(|_| value != Value::Undefined).ok_or(Fault::InvocationFailed)?;
        if text.len() > OUTPUT_BYTES_MAX {
            return Err(Fault::LimitExceeded);
        }
        serde_json::from_str(&text).map_err(|_| Fault::OutputInvalid)
    }

    /// Heap bytes, roughly: a module's tree is some ten times its text.
    pub(super) fn bytes(&self) -> usize {
        10 * self.source_bytes
    }
}

impl fmt::Debug for Rego {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rego").field("rule", &self.rule).finish_non_exhaustive()
    }
}

/// Takes from Rego what would make a decision depend on anything but its input and the time it is told. `http.send`, `opa.runtime` and
/// `uuid.rfc4122` are not compiled in: calling one fails.
fn forbid(engine: &mut Engine) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let now = |_: Vec<Value>| Ok(Value::from(NOW_NS.get()));
    engine.add_extension("time.now_ns".to_owned(), 0, Box::new(now))?;
    let random = |_: Vec<Value>| Err(Random)?;
    engine.add_extension("rand.intn".to_owned(), 2, Box::new(random))?;
    Ok(())
}

/// Why `rand.intn` fails.
#[derive(Debug)]
struct Random;

impl fmt::Display for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decision may not depend on chance")
    }
}

impl std::error::Error for Random {}

fn length_config() -> PolicyLengthConfig {
    let lines = NonZeroUsize::new(limits::ACS_MODULE_LINES_MAX).unwrap_or(NonZeroUsize::MIN);
    PolicyLengthConfig {
        max_col: u32::try_from(lines.get()).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN),
        max_file_bytes: NonZeroUsize::new(limits::ACS_MODULE_BYTES_MAX).unwrap_or(NonZeroUsize::MIN),
        max_lines: lines,
    }
}

/// The interpreter shows the place in the source over several lines; ours is one.
fn one_line(message: &str) -> String {
    let lines = message.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('|'));
    lines.collect::<Vec<_>>().join(" ")
}

/// Longest verdict; AGT's own bound.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rego(module: &str) -> Rego {
        let sources = Sources { modules: vec![("p.rego".to_owned(), module.to_owned())], data: Vec::new() };
        Rego::prepare(sources, "data.p.verdict").unwrap()
    }

    #[test]
    fn the_time_is_the_decisions_own() {
        let rego = rego("package p\nverdict := time.now_ns()");
        for time in [1, 1_767_225_600_000_000_000] {
            assert_eq!(rego.evaluate(json!({}), time), Ok(json!(time)));
        }
    }

    #[test]
    fn what_reaches_out_or_depends_on_chance_fails() {
        for call in [
            "http.send({})",
            "opa.runtime()",
            "rand.intn(\"x\", 5)",
            "uuid.rfc4122(\"x\")",
            "net.lookup_ip_addr(\"x\")",
        ] {
            let rego = rego(&format!("package p\nverdict := {{\"decision\": \"allow\", \"x\": {call}}}"));
            assert_eq!(rego.evaluate(json!({}), 0), Err(Fault::InvocationFailed), "{call}");
            // A rule that would deny does not fail silently to hold either.
            let module =
                format!("package p\ndefault verdict := {{\"decision\": \"allow\"}}\nverdict := {{}} if {call}");
            assert_eq!(self::rego(&module).evaluate(json!({}), 0), Err(Fault::InvocationFailed), "{call}");
        }
    }

    #[test]
    fn an_evaluation_that_takes_too_long_fails() {
        let rego = rego(
            "package p\nverdict := count([1 | some x in input.n; some y in input.n; some z in input.n; x + y + z < 0])",
        );
        let numbers: Vec<u32> = (0..1_000).collect();
        assert_eq!(rego.evaluate(json!({"n": numbers}), 0), Err(Fault::InvocationFailed));
        // The next one starts afresh.
        assert_eq!(rego.evaluate(json!({"n": []}), 0), Ok(json!(0)));
    }

    #[test]
    fn a_set_is_a_list_and_a_verdict_too_long_is_refused() {
        assert_eq!(rego("package p\nverdict contains input.n").evaluate(json!({"n": 1}), 0), Ok(json!([1])));
        let long = rego("package p\nverdict := input");
        assert_eq!(long.evaluate(json!({"n": "x".repeat(OUTPUT_BYTES_MAX)}), 0), Err(Fault::LimitExceeded));
    }

    #[test]
    fn evaluations_know_nothing_of_one_another() {
        let rego = rego("package p\nverdict := input.n\n");
        std::thread::scope(|scope| {
            for n in 0..4_u32 {
                let rego = &rego;
                scope.spawn(move || {
                    for _ in 0..100 {
                        assert_eq!(rego.evaluate(json!({"n": n}), 0), Ok(json!(n)));
                    }
                });
            }
        });
        assert_eq!(rego.evaluate(json!({}), 0), Err(Fault::InvocationFailed), "nothing is left of the last input");
    }

    #[test]
    fn a_rule_that_is_not_there_or_a_module_that_does_not_parse_is_refused() {
        let of = |text: &str, rule: &str| {
            let sources = Sources { modules: vec![("p.rego".to_owned(), text.to_owned())], data: Vec::new() };
            Rego::prepare(sources, rule).map(|_| ()).unwrap_err()
        };
        assert!(!of("package p\nx := 1", "data.p.verdict").is_empty());
        let error = of("package p\nverdict := {", "data.p.verdict");
        assert!(error.contains("p.rego") && !error.contains('\n'), "{error}");
        assert!(of("package p\nallow { true }", "data.p.allow").contains("p.rego"), "Rego is v1");
    }

    #[test]
    fn data_is_mounted_where_its_folder_says() {
        let modules = vec![("p.rego".to_owned(), "package p\nverdict := [data.a.b.n, data.top]".to_owned())];
        let data = vec![(vec!["a".to_owned(), "b".to_owned()], json!({"n": 7})), (Vec::new(), json!({"top": "t"}))];
        let rego = Rego::prepare(Sources { modules, data }, "data.p.verdict").unwrap();
        assert_eq!(rego.evaluate(json!({}), 0), Ok(json!([7, "t"])));
    }
}

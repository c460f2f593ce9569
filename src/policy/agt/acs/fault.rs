//! Why a call could not be decided, in AGT's reserved words. Each is a denial.

/// One of AGT's reserved reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    PointUnknown,
    PathMissing,
    PathTypeMismatch,
    ToolUnknown,
    InvocationFailed,
    OutputInvalid,
    TransformInvalid,
    TransformForbidden,
    LimitExceeded,
    RequestInvalid,
}

impl Fault {
    /// The reserved word. No policy may use one of these as its own reason.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Fault::PointUnknown => "runtime_error:intervention_point_unknown",
            Fault::PathMissing => "runtime_error:path_missing",
            Fault::PathTypeMismatch => "runtime_error:path_type_mismatch",
            Fault::ToolUnknown => "runtime_error:tool_unknown",
            Fault::InvocationFailed => "runtime_error:policy_invocation_failed",
            Fault::OutputInvalid => "runtime_error:policy_output_invalid",
            Fault::TransformInvalid => "runtime_error:transform_invalid",
            Fault::TransformForbidden => "runtime_error:transform_target_forbidden",
            Fault::LimitExceeded => "runtime_error:resource_limit_exceeded",
            Fault::RequestInvalid => "runtime_error:request_invalid",
        }
    }

    /// What mends it.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Fault::PointUnknown => "Give the manifest an intervention point `pre_tool_call`.",
            Fault::PathMissing => "The call lacks what `policy_target` or `tool_name_from` reads.",
            Fault::PathTypeMismatch => "`policy_target` or `tool_name_from` reads a value of another type.",
            Fault::ToolUnknown => "List the tool under `tools` in the manifest.",
            Fault::InvocationFailed => "The Rego query gave no verdict, failed, or took too long.",
            Fault::OutputInvalid => "The Rego query gave something that is no verdict.",
            Fault::TransformInvalid | Fault::TransformForbidden => "The verdict's `transform` is not valid.",
            Fault::LimitExceeded => "The call is larger or deeper than the manifest's limits.",
            Fault::RequestInvalid => "The call's facts or arguments cannot be read.",
        }
    }
}

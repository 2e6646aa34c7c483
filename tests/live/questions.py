"""What AWS leaves undocumented about asynchronous endpoints, and what our emulator assumes."""

from dataclasses import dataclass
from typing import Any

from backburner_local.emulators.sagemaker.knobs import Knobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One open point, and how it is settled."""

    id: str
    asks: str
    #: What `measurements` does to find out.
    measured_by: str
    #: The emulator's knob that holds our assumption, if there is one.
    knob: str | None = None
    #: Our assumption where there is no knob.
    assumed: Any = None

    def assumption(self, knobs: Knobs) -> Any:
        return self.assumed if self.knob is None else getattr(knobs, self.knob)


RESPONSE_BODY = ["content", "encoding", "message"]

QUESTIONS = [
    Question(
        id="default-output-key",
        asks="Is the InferenceId part of the default name of the output object?",
        measured_by="one invocation without Filename; OutputLocation of its answer",
        assumed=False,
    ),
    Question(
        id="inline-input-location",
        asks="What is `inputLocation` in the notification of an inline body?",
        measured_by="the same invocation's notification",
        assumed="absent",
    ),
    Question(
        id="success-response-body",
        asks="Which members has `responseBody` in a success notification?",
        measured_by="the same notification; both topics include responses",
        assumed=RESPONSE_BODY,
    ),
    Question(
        id="named-output-key",
        asks="How are S3OutputPathExtension and Filename joined to S3OutputPath?",
        measured_by="an invocation with both; OutputLocation, and the object that is there",
        assumed="<S3OutputPath>/<extension>/<filename>",
    ),
    Question(
        id="named-output-overwritten",
        asks="Does a second invocation with the same names overwrite the object?",
        measured_by="the same invocation once more with another body; what the object then holds",
        assumed=True,
    ),
    Question(
        id="failure-key",
        asks="Is the failure object named by Filename or by a uuid?",
        measured_by="an invocation with Filename that the container answers 500; FailureLocation",
        knob="failure_key",
    ),
    Question(
        id="failure-key-suffix",
        asks="What follows the uuid in the failure object's name?",
        measured_by="an invocation without Filename that the container answers 500",
        knob="failure_key_suffix",
    ),
    Question(
        id="failure-location-in",
        asks="Where does a Failed notification name the failure object?",
        measured_by="the same invocation's notification",
        knob="failure_location_in",
    ),
    Question(
        id="error-response-body",
        asks="Which members has `responseBody` in an error notification?",
        measured_by="the same notification",
        assumed=RESPONSE_BODY,
    ),
    Question(
        id="failure-object",
        asks="Does the failure object hold the container's own body?",
        measured_by="reading it",
        assumed=True,
    ),
    Question(
        id="timed-out-told",
        asks="Is an invocation that outlasts InvocationTimeoutSeconds told to the error topic?",
        measured_by="a time-out of 5 s for a call of 30 s; its notification and failureReason",
        assumed=True,
    ),
    Question(
        id="same-inference-id",
        asks="How many results have two invocations with one InferenceId?",
        measured_by="two calls at once; notifications within a minute",
        assumed=2,
    ),
    Question(
        id="expired-told",
        asks="Is an invocation that outlasts RequestTTLSeconds told to the error topic?",
        measured_by="a TTL of 60 s behind a call of 150 s with room for one at a time",
        knob="notify_expired",
    ),
    Question(
        id="backlog-in-flight",
        asks="Does ApproximateBacklogSize count what is being processed?",
        measured_by="one call of 240 s and nothing behind it; the metric's largest value meanwhile",
        knob="backlog_includes_inflight",
    ),
    Question(
        id="processed-metric",
        asks="How is the metric of processed invocations spelt?",
        measured_by="ListMetrics",
        knob="processed_metric_name",
    ),
    Question(
        id="capacity-by-hand",
        asks="Does UpdateEndpointWeightsAndCapacities take an endpoint to 0 instances and back?",
        measured_by="calling it with 0, then with 1; the seconds until there is one",
        assumed=True,
    ),
    Question(
        id="test-on-scaling",
        asks="Does a change of capacity send a TestNotification?",
        measured_by="counting them before and after",
        knob="test_notifications",
    ),
    Question(
        id="backlog-per-instance-at-zero",
        asks="Is ApproximateBacklogSizePerInstance published at 0 instances?",
        measured_by="one invocation at 0 instances; data points of the next 4 minutes",
        knob="backlog_per_instance_at_zero",
    ),
    Question(
        id="instance-loss",
        asks="What becomes of an invocation whose instance is taken away?",
        measured_by="capacity 0 during a call of 300 s, then 1 again; its notification",
        knob="on_instance_loss",
    ),
    Question(
        id="default-concurrency",
        asks="What is MaxConcurrentInvocationsPerInstance where it is left out?",
        measured_by="32 calls of 10 s at an endpoint without ClientConfig; how many ran at once",
        knob="default_concurrency",
    ),
    Question(
        id="instance-pools",
        asks="Does an asynchronous endpoint configuration take InstancePools?",
        measured_by="CreateEndpointConfig with both; nothing is started",
        assumed="accepted",
    ),
    Question(
        id="deleted-with-backlog",
        asks="Is what waits told when its endpoint is deleted?",
        measured_by="DeleteEndpoint with one call running and one waiting; 3 minutes of listening",
        assumed=False,
    ),
]

#: Open points that stay open, and why.
NOT_MEASURED = {
    "the start-up window of /ping": "costs a failed endpoint of up to an hour, and the template"
    " always sets ContainerStartupHealthCheckTimeoutInSeconds",
    "the transform data type `Converse`": "no part of what Backburner uses",
    "what a stopped transform job leaves of finished objects (`stopped_job_keeps`)": "costs a job"
    " on instances of its own; Backburner takes whatever is there, and runs the rest again",
    "whether a transform job asks again for what was refused with a 4xx (`retries_refused`)": ""
    "costs a job as well; more tries would only take longer",
    "the instants in events of transform jobs (`event_times`)": "Backburner reads none of them",
    "the price of ml.g6e.xlarge in us-east-1": "ask the Price List API: `aws pricing get-products"
    " --service-code AmazonSageMaker --region us-east-1 --filters"
    " Type=TERM_MATCH,Field=instanceName,Value=ml.g6e.xlarge`",
}

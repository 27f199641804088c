"""Affinity as Kubernetes has it (core/v1 `Affinity`), in either spelling; `to_kubernetes` gives its own."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from nuwrap.spec.model import Many, Shape, said
from nuwrap.spec.shapes import LABEL_KEY, LABEL_KEY_FORM

_OPERATORS = "In, NotIn, Exists, DoesNotExist"


class NodeExpression(Shape):
    """What a node's label or field must be."""

    key: str = said("key of a label", LABEL_KEY_FORM, ..., pattern=LABEL_KEY)
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = said(
        "how it is compared", f"{_OPERATORS}, Gt, Lt", ...
    )
    values: Many[str] = said("what it is compared with", "a list of strings", ())


class NodeTerm(Shape):
    """Expressions that must all hold."""

    match_expressions: Many[NodeExpression] = said("on labels", "a list of {key, operator, values}", ())
    match_fields: Many[NodeExpression] = said("on fields of the node", "a list of {key, operator, values}", ())


class NodeTerms(Shape):
    """Terms of which one must hold."""

    node_selector_terms: Many[NodeTerm] = said("terms of which one must hold", "a list of terms", ...)

    @field_validator("node_selector_terms")
    @classmethod
    def _check_terms(cls, value: tuple[NodeTerm, ...]) -> tuple[NodeTerm, ...]:
        if not value:
            raise ValueError("is empty")
        return value


class PreferredNode(Shape):
    """A term that makes a node better."""

    weight: int = said("how much better", "1 to 100", ..., ge=1, le=100)
    preference: NodeTerm = said("what makes it better", "one term: {match_expressions, match_fields}", ...)


class NodeAffinity(Shape):
    """Which nodes a pod may stand on, and which are better."""

    required_during_scheduling_ignored_during_execution: NodeTerms | None = said(
        "what must hold", "{node_selector_terms: […]}"
    )
    preferred_during_scheduling_ignored_during_execution: Many[PreferredNode] = said(
        "what is better", "a list of {weight, preference}", ()
    )


class LabelExpression(Shape):
    """What a pod's label must be."""

    key: str = said("key of a label", LABEL_KEY_FORM, ..., pattern=LABEL_KEY)
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = said("how it is compared", _OPERATORS, ...)
    values: Many[str] = said("what it is compared with", "a list of strings", ())


class LabelSelector(Shape):
    """Labels and expressions that must all hold."""

    match_labels: dict[str, str] = said("labels that must be there", "a mapping of labels", {})
    match_expressions: Many[LabelExpression] = said("expressions", "a list of {key, operator, values}", ())


class PodTerm(Shape):
    """Pods to be near to, or away from."""

    topology_key: str = said("label of a node that says what is near", LABEL_KEY_FORM, ..., pattern=LABEL_KEY)
    label_selector: LabelSelector | None = said("which pods", "{match_labels, match_expressions}")
    namespaces: Many[str] = said("namespaces of the pods", "a list of names", ())
    namespace_selector: LabelSelector | None = said("namespaces by label", "{match_labels, match_expressions}")
    match_label_keys: Many[str] = said("labels to compare with this pod's own", "a list of label keys", ())
    mismatch_label_keys: Many[str] = said("labels that must differ from this pod's own", "a list of label keys", ())


class PreferredPod(Shape):
    """A term that makes a place better."""

    weight: int = said("how much better", "1 to 100", ..., ge=1, le=100)
    pod_affinity_term: PodTerm = said("which pods", "{topology_key, label_selector, …}", ...)


class PodAffinity(Shape):
    """Pods to be near to, or away from: a must, and what is better."""

    required_during_scheduling_ignored_during_execution: Many[PodTerm] = said(
        "what must hold", "a list of {topology_key, label_selector, …}", ()
    )
    preferred_during_scheduling_ignored_during_execution: Many[PreferredPod] = said(
        "what is better", "a list of {weight, pod_affinity_term}", ()
    )


class Affinity(Shape):
    """Where a pod may stand, and where it is better."""

    node_affinity: NodeAffinity | None = said("by the node's labels", "a mapping, as Kubernetes has it")
    pod_affinity: PodAffinity | None = said("near to other pods", "a mapping, as Kubernetes has it")
    pod_anti_affinity: PodAffinity | None = said("away from other pods", "a mapping, as Kubernetes has it")

"""Makes projects: a whole one, Fairway's part beside a service that is there, and the changes of the demo."""

from fairway.scaffold.existing import Wishes, add_to_service
from fairway.scaffold.plain import make_project
from fairway.scaffold.releases import DEMO_VERSIONS, demo_changes
from fairway.scaffold.result import InitResult

__all__ = ["DEMO_VERSIONS", "InitResult", "Wishes", "add_to_service", "demo_changes", "make_project"]

from .page import fragment as fragment
from .page import page as page
from .page import save_report as save_report
from .summary import Summary as Summary

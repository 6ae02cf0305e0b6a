"""The data doctor: what is probably wrong with photos, labels and boxes that can be read.

``data.check`` tells what no training can use; everything here is a suspicion, with the numbers behind it.
"""

from fanlight.doctor.examination import examine
from fanlight.doctor.finding import KINDS, Examined, Finding

__all__ = ["KINDS", "Examined", "Finding", "examine"]

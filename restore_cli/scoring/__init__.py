"""Score weights on folders of images under a named protocol.

pairs.py        clean and degraded files, paired by name
protocol.py     how inputs are made and scores are taken, as named facts
sample.py       one pair of pixels under a protocol
candidates.py   what is compared: weights, and a floor that needs none
score.py        every image through every candidate
report.py       means, reported numbers beside ours; JSON and CSV
table.py        the report as rows of text
crops.py        the worst and best places
page.py         the report and the crops as one HTML page
perceptual.py   LPIPS, through an extra
"""

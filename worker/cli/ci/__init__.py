"""What pipelines on GitHub and GitLab need besides the command: one comment, one issue, annotations, the reviewed plan.

It knows nothing of accounts, and has nothing but the token of its pipeline: `python -m worker.cli.ci --help`.
"""

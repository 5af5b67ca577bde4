"""Steps of pipelines on GitHub and GitLab: one comment, one issue, annotations, the reviewed plan.

They reach no account, and have only the token of their pipeline: `python -m worker.cli.ci --help`.
"""

"""Steps of pipelines on GitHub and GitLab: comments, issues, annotations and the reviewed plan.

They access no account, and use only the token of their pipeline: `python -m worker.cli.ci --help`.
"""

"""Steps of pipelines on GitHub and GitLab: comments, issues, annotations and the reviewed plan.

They access no account, and use no secret but the token of their pipeline. See `python -m worker.cli.ci --help`.
"""

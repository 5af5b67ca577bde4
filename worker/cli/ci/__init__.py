"""Steps of pipelines on GitHub and GitLab: comments, issues, annotations and the reviewed plan.

They access no account. Their only secret is the token of the pipeline. See `python -m worker.cli.ci --help`.
"""

"""The command line. Findings go to standard output, everything else to standard error; a deliberate error exits with 2,
a gate with 3. One file a command."""

from __future__ import annotations

from privet.cli import audit, challenge, compare, cuts, fit, methods, plan, profile, release, report, reproduce
from privet.cli.root import app

__all__ = ["app"]

app.command(epilog=audit.EXAMPLE)(audit.audit)
app.command(epilog=cuts.EXAMPLE)(cuts.cuts)
app.command(epilog=profile.EXAMPLE)(profile.profile)
app.command(epilog=plan.EXAMPLE)(plan.plan)
app.command(epilog=release.EXAMPLES["release"])(release.release)
app.command("fit-cloud", epilog=release.EXAMPLES["fit-cloud"])(release.fit_cloud)
app.command(epilog=fit.EXAMPLE)(fit.fit)
app.command(epilog=report.EXAMPLE)(report.report)
app.command(epilog=compare.EXAMPLE)(compare.compare)
app.add_typer(challenge.group)
app.command(epilog=reproduce.EXAMPLE)(reproduce.reproduce)
app.command(epilog=methods.EXAMPLES["defenses"])(methods.defenses)
app.command(epilog=methods.EXAMPLES["attacks"])(methods.attacks)

import { UsageError } from '#console/failure.ts'

/**
 * A scheduled task for Windows, as PowerShell. WSL stops a distribution when no Windows process has it open, whatever runs
 * under its systemd: the task keeps it open with a process that sleeps from log-on.
 */
export function keepAwakeTask(distribution = 'DISTRIBUTION'): string {
  if (/\p{Cc}|\p{Cf}|\u2028|\u2029/u.test(distribution)) {
    throw new UsageError(
      'the name of this distribution (WSL_DISTRO_NAME) holds control characters',
      'rename it in Windows',
    )
  }
  // These characters are not allowed in the name of a task.
  const task = quoted(`S2 keeps WSL running (${distribution.replace(/[\\/:*?"<>|]/g, '-')})`)
  const args = quoted(`--distribution ${argument(distribution)} --exec /bin/sleep infinity`)
  return `# In a PowerShell of Windows. To undo it: Unregister-ScheduledTask -TaskName ${task}
$action = New-ScheduledTaskAction -Execute 'wsl.exe' -Argument ${args}
$trigger = New-ScheduledTaskTrigger -AtLogOn -User "$env:USERDOMAIN\\$env:USERNAME"
$settings = New-ScheduledTaskSettingsSet -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries -ExecutionTimeLimit ([TimeSpan]::Zero) -RestartCount 999 -RestartInterval (New-TimeSpan -Minutes 1)
Register-ScheduledTask -TaskName ${task} -Action $action -Trigger $trigger -Settings $settings
Start-ScheduledTask -TaskName ${task}
`
}

/** A PowerShell string literal: PowerShell knows five single quotes, and each is escaped by doubling it. */
function quoted(text: string): string {
  return `'${text.replace(/['\u2018-\u201b]/g, '$&$&')}'`
}

/** One argument of a Windows command line: quotes and the backslashes before them are escaped (CommandLineToArgvW). */
function argument(text: string): string {
  if (/^[\w.-]+$/.test(text)) return text
  return `"${text.replace(/(\\*)"/g, '$1$1\\"').replace(/(\\+)$/, '$1$1')}"`
}

/**
 * A scheduled task for Windows, as PowerShell. WSL stops a distribution when no Windows process has it open, whatever runs
 * under its systemd: a process that sleeps for ever holds it open from one's log-on on.
 */
export function keepAwakeTask(distribution = '<distribution>'): string {
  const name = `S2 keeps WSL running (${distribution})`
  return `# In a PowerShell of Windows. To undo it: Unregister-ScheduledTask -TaskName '${name}'
$action = New-ScheduledTaskAction -Execute 'wsl.exe' -Argument '--distribution ${distribution} --exec /bin/sleep infinity'
$trigger = New-ScheduledTaskTrigger -AtLogOn -User "$env:USERDOMAIN\\$env:USERNAME"
$settings = New-ScheduledTaskSettingsSet -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries -ExecutionTimeLimit ([TimeSpan]::Zero) -RestartCount 999 -RestartInterval (New-TimeSpan -Minutes 1)
Register-ScheduledTask -TaskName '${name}' -Action $action -Trigger $trigger -Settings $settings
Start-ScheduledTask -TaskName '${name}'
`
}

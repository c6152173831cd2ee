import { mkdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { type CommandContext, ENDING_SIGNALS } from '#console/context.ts'
import { LOCAL_STATE } from '#console/state-folder.ts'
import { ConfigError, readSettings } from '#runtime/config.ts'
import { type DemoTask, readDemo } from '../../local/demo-tasks.ts'
import { EventReporter } from '../../local/event-reporter.ts'
import { type Fleet, readFleet } from '../../local/fleet-file.ts'
import { startFleet } from '../../local/start-fleet.ts'

const EXAMPLES = `
Examples:
  s2 up fleet.json                   keeps its programs running until Ctrl-C
  s2 up deploy/fleet/nine.json --demo

A fleet file:
  {
    "bridge": { "listen": "127.0.0.1:7433" },
    "credentials": { "remote": "local", "branch": "main" },
    "settings": { "S2_SILENT_AFTER": "60s" },
    "orchestrator": { "wake": "notify-send mail" },
    "workers": [
      { "number": 1, "role": "backend", "exec": "claude -p \\"$S2_TASK_DESCRIPTION\\"", "folder": "/src/app" }
    ]
  }

Each agent has a state folder of its own; workers get their credentials through the git remote alone. The state
lies in .s2 of this folder, or in S2_STATE. While it runs, s2 status, freeze, thaw and kill work from the same folder.`

interface Options {
  readonly demo?: true
  readonly json?: true
}

export function define(command: Command, shell: CommandContext): void {
  command
    .argument('<fleet>', 'the fleet file')
    .option('--demo', 'deal the tasks that the fleet file names for it')
    .option('--json', 'print what happens as JSON, an event a line')
    .addHelpText('after', EXAMPLES)
    .action(async (path: string, options: Options) => await up(shell, path, options))
}

async function up(shell: CommandContext, path: string, options: Options): Promise<void> {
  const fleet = readFleet(path)
  const tasks = options.demo === true ? demoOf(fleet, path) : null
  const env = { ...shell.env, S2_STATE: shell.env.S2_STATE ?? join(shell.folder, LOCAL_STATE) }
  const settings = readSettings({ ...fleet.settings, ...env }, ['S2_STATE', 'S2_LIFETIME', 'S2_GIT_TIMEOUT'])
  mkdirSync(settings.S2_STATE, { recursive: true, mode: 0o700 })
  // Marks are compared as texts: one folder must have one name.
  const state = realpathSync(settings.S2_STATE)
  const ending = new AbortController()
  const hurry = new AbortController()
  // The first one drains, a second one does not wait.
  using _signals = shell.onSignal(ENDING_SIGNALS, () => (ending.signal.aborted ? hurry : ending).abort())
  const reporter = new EventReporter(shell, options.json === true)
  await using raised = await startFleet({
    fleet,
    state,
    lifetimeMs: settings.S2_LIFETIME,
    gitTimeoutMs: settings.S2_GIT_TIMEOUT,
    shell: { ...shell, env },
    reporter,
    ending,
    hurry: hurry.signal,
  })
  await raised.run(tasks)
}

function demoOf(fleet: Fleet, path: string): DemoTask[] {
  if (fleet.demo === null)
    throw new ConfigError([`${path} names no tasks for a demo: add "demo": "tasks.json", or leave --demo away`])
  return readDemo(fleet.demo, fleet)
}

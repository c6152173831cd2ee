import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ClaudeHome } from './claude.ts'
import type { ClientHome, HomeOptions } from './client.ts'
import { CodexHome } from './codex.ts'
import type { ClientFleet } from './fleet.ts'
import type { MadeUpModel } from './model.ts'

const run = promisify(execFile)

/** Events that S2 hears of Claude Code. */
const CLAUDE_EVENTS = [
  'SessionStart',
  'UserPromptSubmit',
  'PreToolUse',
  'PostToolUse',
  'PermissionRequest',
  'Notification',
  'Stop',
  'StopFailure',
  'SessionEnd',
]

/** A home of Claude Code in a worker's place: S2 hears its hooks, and it has S2's tools. */
export async function placedClaude(
  fleet: ClientFleet,
  worker: number,
  model: MadeUpModel,
  settings: Readonly<Record<string, unknown>> = {},
  allow: readonly string[] = ['mcp__s2'],
): Promise<ClaudeHome> {
  const home = new ClaudeHome(optionsOf(fleet, worker, model))
  const hooks = Object.fromEntries(
    CLAUDE_EVENTS.map((name) => [name, [{ hooks: [{ type: 'command', command: `s2 hook ${name} --agent claude` }] }]]),
  )
  home.settle({ hooks, ...settings }, allow)
  await inHome(home, ['mcp', 'add', '-s', 'user', 's2', '--', 's2', 'mcp'])
  return home
}

const CODEX_EVENTS = [
  'SessionStart',
  'UserPromptSubmit',
  'PreToolUse',
  'PostToolUse',
  'PermissionRequest',
  'Interrupt',
  'Stop',
  'SessionEnd',
]

/** The same of Codex. */
export async function placedCodex(fleet: ClientFleet, worker: number, model: MadeUpModel): Promise<CodexHome> {
  const home = new CodexHome(optionsOf(fleet, worker, model))
  const hooks = CODEX_EVENTS.map((name) => [
    name,
    [{ hooks: [{ type: 'command', command: `s2 hook ${name} --agent codex` }] }],
  ])
  writeFileSync(join(home.folder, '.codex', 'hooks.json'), JSON.stringify({ hooks: Object.fromEntries(hooks) }))
  await inHome(home, ['mcp', 'add', 's2', '--env', `S2_STATE=${fleet.stateOf(worker)}`, '--', 's2', 'mcp'])
  return home
}

function optionsOf(fleet: ClientFleet, worker: number, model: MadeUpModel): HomeOptions {
  return { model: model.url, key: `worker-${worker}`, env: fleet.envOf(worker) }
}

/** Runs a command of the client to its end. */
async function inHome(home: ClientHome, args: readonly string[]): Promise<void> {
  const [file, ...rest] = home.command(args)
  await run(file, rest, { cwd: home.project, env: home.env })
}

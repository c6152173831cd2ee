import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { ClaudeHome } from './claude.ts'
import type { ClientHome, HomeOptions } from './client.ts'
import { CodexHome } from './codex.ts'
import type { ClientFleet } from './fleet.ts'
import type { MadeUpModel } from './model.ts'

const run = promisify(execFile)

/** A home of Claude Code in a worker's place: S2 hears its hooks, and it has S2's tools, as `s2 hooks install` set it up. */
export async function placedClaude(
  fleet: ClientFleet,
  worker: number,
  model: MadeUpModel,
  settings: Readonly<Record<string, unknown>> = {},
  allow: readonly string[] = ['mcp__s2'],
): Promise<ClaudeHome> {
  const home = new ClaudeHome(optionsOf(fleet, worker, model))
  home.settle(settings, allow)
  await install(home, 'claude')
  return home
}

/** The same of Codex. */
export async function placedCodex(fleet: ClientFleet, worker: number, model: MadeUpModel): Promise<CodexHome> {
  const home = new CodexHome(optionsOf(fleet, worker, model))
  await install(home, 'codex')
  await home.trustHooks()
  return home
}

function optionsOf(fleet: ClientFleet, worker: number, model: MadeUpModel): HomeOptions {
  return { model: model.url, key: `worker-${worker}`, env: fleet.envOf(worker) }
}

async function install(home: ClientHome, agent: 'claude' | 'codex'): Promise<void> {
  await run('s2', ['hooks', 'install', '--agent', agent, '--mcp'], { cwd: home.project, env: home.env })
}

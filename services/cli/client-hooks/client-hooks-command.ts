import { homedir } from 'node:os'
import { resolve } from 'node:path'
import { CLIENTS, type Client } from '#agents/client-session.ts'
import type { CommandContext } from '#console/context.ts'
import { EXIT, Exit, UsageError } from '#console/failure.ts'
import { commandEnv } from '#console/state-folder.ts'
import { SETTINGS } from '#runtime/settings.ts'
import { hookFiles, mcpFiles, type Scope } from './client-files.ts'
import type { HookWishes } from './client-settings.ts'
import { byFile, carryOut, type FileChange, type FileEdit, planInstall, planUninstall } from './file-edits.ts'
import { unifiedDiff } from './unified-diff.ts'

export interface ClientHooksOptions {
  readonly agent?: string
  readonly user?: true
  readonly project?: true
  readonly mcp?: true
  readonly dryRun?: true
  readonly json?: true
}

/** The hooks of a client of agents, and with --mcp the door of agents among its servers. */
export const clientHooks = { install, uninstall }

async function install(context: CommandContext, options: ClientHooksOptions): Promise<void> {
  const { wishes, scope } = asked(context, options)
  const edits = [...hookFiles(wishes, scope), ...(options.mcp === true ? mcpFiles(wishes, scope) : [])]
  await change(context, options, edits, planInstall)
  if (wishes.client === 'codex' && options.json !== true) context.tell(CODEX_TRUST)
}

/** Takes the hooks away, and the server with them: one without the other is of no use. */
async function uninstall(context: CommandContext, options: ClientHooksOptions): Promise<void> {
  const { wishes, scope } = asked(context, options)
  await change(context, options, [...hookFiles(wishes, scope), ...mcpFiles(wishes, scope)], planUninstall)
}

/** Shows where hooks of S2 are installed; ends with 1 where none are. */
export async function clientHooksStatus(context: CommandContext, options: ClientHooksOptions): Promise<void> {
  const clients = options.agent === undefined ? CLIENTS : [clientNamed(options.agent)]
  const found = []
  for (const agent of clients) {
    for (const isProject of [false, true]) {
      const { wishes, scope } = asked(context, { agent, ...(isProject ? { project: true } : {}) })
      for (const [what, edits] of [
        ['hooks', hookFiles(wishes, scope)],
        ['mcp', mcpFiles(wishes, scope)],
      ] as const) {
        for (const edit of edits) found.push({ agent, what, path: edit.path, state: await stateOf(edit) })
      }
    }
  }
  if (options.json === true) context.print(`${JSON.stringify(found, null, 2)}\n`)
  else
    for (const { agent, what, path, state } of found)
      context.print(`${agent.padEnd(9)}${what.padEnd(7)}${state.padEnd(14)}${path}\n`)
  if (found.every(({ state }) => state === 'not installed')) throw new Exit(EXIT.failed)
}

async function stateOf(edit: FileEdit): Promise<string> {
  try {
    const { before, after } = await planInstall(edit)
    if (before === after) return 'installed'
    return (await planUninstall(edit)).after === before ? 'not installed' : 'outdated'
  } catch {
    return 'unreadable'
  }
}

const CODEX_TRUST = `s2: codex runs no hook that nobody trusts, and says nothing of it: call /hooks in codex once, and trust those of s2
`

function asked(context: CommandContext, options: ClientHooksOptions): { wishes: HookWishes; scope: Scope } {
  if (options.user === true && options.project === true) throw new UsageError('--user and --project exclude each other')
  const { env, folder } = context
  const scope = { isProject: options.project === true, folder, home: env.HOME ?? homedir(), env }
  return { wishes: { client: clientNamed(options.agent), state: stateNamed(context), door: null }, scope }
}

function clientNamed(name: string | undefined): Client {
  const client = CLIENTS.find((each) => each === name)
  if (client === undefined)
    throw new UsageError(`there is no client ${JSON.stringify(name)}`, `name one of ${CLIENTS.join(', ')}`)
  return client
}

/** The state folder, where it is not the one that every command finds by itself. */
function stateNamed(context: CommandContext): string | null {
  const { S2_STATE: state } = commandEnv(context)
  if (state === undefined) return null
  const path = resolve(context.folder, SETTINGS.S2_STATE.parse(state))
  return path === SETTINGS.S2_STATE.parse(SETTINGS.S2_STATE.fallback) ? null : path
}

/** Plans all changes before it makes the first: a broken file leaves every other as it is. */
async function change(
  context: CommandContext,
  { dryRun, json }: ClientHooksOptions,
  wanted: readonly FileEdit[],
  plan: (edit: FileEdit) => Promise<FileChange>,
): Promise<void> {
  const edits = byFile(wanted)
  const changes: FileChange[] = []
  for (const edit of edits) changes.push(await plan(edit))
  if (dryRun === true) return tellPlan(context, changes, json === true)
  for (const [index, edit] of edits.entries()) {
    await carryOut(edit, changes[index] as FileChange, plan === planInstall)
  }
  const told = changes.map((each) => ({ path: each.path, what: whatOf(each) }))
  context.print(
    json === true ? `${JSON.stringify(told, null, 2)}\n` : told.map(({ path, what }) => `${path} ${what}\n`).join(''),
  )
}

function tellPlan(context: CommandContext, changes: readonly FileChange[], isJson: boolean): void {
  const diff = changes.map(({ path, before, after }) => unifiedDiff(path, before, after)).join('')
  context.print(isJson ? `${JSON.stringify({ diff }, null, 2)}\n` : diff)
}

function whatOf({ before, after }: FileChange): string {
  if (before === after) return before === null ? 'is not there' : 'is as it should be'
  return after === null ? 'is removed' : 'is written'
}

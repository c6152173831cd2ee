import { randomBytes } from 'node:crypto'
import { homedir } from 'node:os'
import { resolve } from 'node:path'
import { CLIENTS, type Client } from '#agents/client-session.ts'
import { type HookDoor, publishHookDoor, readHookDoor, removeHookDoor } from '#agents/hook-door.ts'
import type { CommandContext } from '#console/context.ts'
import { EXIT, Exit, UsageError } from '#console/failure.ts'
import { commandEnv, stateFolder } from '#console/state-folder.ts'
import { plain } from '#console/terminal-text.ts'
import { SETTINGS } from '#runtime/settings.ts'
import { changeEach, changeFiles, refuseFailed } from './change-clients.ts'
import { codexPlaces, hookFiles, mcpFiles, type Scope } from './client-files.ts'
import { type HookWishes, hookCommands } from './client-settings.ts'
import { codexHooks, isTrusted } from './codex-hooks.ts'
import { demandPerson, plannedTrust, type Trusting, type TrustPlaces, trustFile, trustHooks } from './codex-trust.ts'
import { type FileChange, type FileEdit, planInstall, planUninstall } from './file-edits.ts'
import { type TrustMove, trustMoves } from './trust-moves.ts'
import { whatIsMissing } from './what-is-missing.ts'
import { tellUnseen } from './what-is-unseen.ts'

export interface ClientHooksOptions {
  /** As they were named, in that order. */
  readonly agent?: readonly string[]
  readonly user?: true
  readonly project?: true
  readonly mcp?: true
  readonly http?: true
  readonly dryRun?: true
  readonly trust?: true
  readonly yes?: true
  readonly json?: true
}

/** The hooks of clients of agents, and with --mcp the door of agents among their servers. */
export const clientHooks = { install, uninstall }

async function install(context: CommandContext, options: ClientHooksOptions): Promise<void> {
  const clients = clientsNamed(options)
  if (options.trust === true) demandTrustable(context, clients, options)
  if (options.http === true) demandHttpHooks(clients, options)
  const outcome = await changeEach(clients, context, options, (client) => installFor(client, context, options))
  if (options.dryRun !== true && options.json !== true) await tellMissing(context, outcome.changed, options)
  refuseFailed(outcome)
}

async function installFor(
  client: Client,
  context: CommandContext,
  options: ClientHooksOptions,
): Promise<readonly FileChange[]> {
  const { wishes: byCommand, scope } = asked(context, client, options)
  const isHttp = options.http === true && client === 'claude'
  const wishes = isHttp ? { ...byCommand, door: await doorFor(context, options) } : byCommand
  const moves = await movesBy(planInstall, wishes, scope)
  const edits = [
    ...hookFiles(wishes, scope),
    ...(options.mcp === true ? mcpFiles(wishes, scope) : []),
    ...(moves.length === 0 ? [] : [trustFile(codexPlaces(wishes, scope), [], moves)]),
  ]
  const trusting = client === 'codex' ? trustingOf(wishes, scope, options) : null
  const isDryTrust = options.trust === true && options.dryRun === true && trusting !== null
  const planned = isDryTrust ? await plannedTrust(trusting, context) : []
  const changes = await changeFiles(context, options, [...edits, ...planned], planInstall)
  if (options.dryRun === true) return changes
  tellMoves(moves, codexPlaces(wishes, scope), context)
  if (options.trust === true && trusting !== null) await trustHooks(trusting, context)
  if (options.json === true) return changes
  if (wishes.state !== null) context.print(`sessions of ${client} speak for the state folder ${plain(wishes.state)}\n`)
  if (isHttp) context.tell(HTTP_SHARED)
  if (trusting !== null) await tellTrust(context, trusting)
  return changes
}

/** What several clients lack is told once. */
async function tellMissing(
  context: CommandContext,
  clients: readonly Client[],
  options: ClientHooksOptions,
): Promise<void> {
  const state = stateFolder(context)
  const missing = new Map<string, string>()
  for (const client of clients) {
    const { wishes, scope } = asked(context, client, options)
    for (const { what, next } of await whatIsMissing(state, wishes, scope, context)) missing.set(what, next)
  }
  for (const [what, next] of missing) context.tell(`s2: ${what}\n  next: ${next}\n`)
  await tellUnseen(state, clients, 'seen', context)
}

const HTTP_SHARED = `s2: where others log in to this machine, leave --http out: whoever takes the port while s2-keepalive is away hears and answers these hooks
`

function demandTrustable(context: CommandContext, clients: readonly Client[], options: ClientHooksOptions): void {
  if (!clients.includes('codex'))
    throw new UsageError(`${clients.join(', ')}: no trust in hooks is asked for`, 'leave --trust out')
  if (options.dryRun !== true) demandPerson(options.yes === true, context)
}

function demandHttpHooks(clients: readonly Client[], { project }: ClientHooksOptions): void {
  if (!clients.includes('claude'))
    throw new UsageError(`${clients.join(', ')}: commands alone are run`, 'leave --http out')
  // A project is read by others, and its settings hold the secret.
  if (project === true) throw new UsageError('--http is for --user alone', 'leave one of them out')
}

function trustingOf(wishes: HookWishes, scope: Scope, options: ClientHooksOptions): Trusting {
  return {
    ...codexPlaces(wishes, scope),
    commands: hookCommands('codex', wishes),
    isAgreed: options.yes === true,
  }
}

/** Says what Codex would skip. */
async function tellTrust(context: CommandContext, { hooks: path }: Trusting): Promise<void> {
  const hooks = await codexHooks(path, context).catch(() => null)
  const skipped = hooks?.filter((each) => !isTrusted(each)).length ?? 0
  if (hooks === null || hooks.length === 0) context.tell(CODEX_TRUST)
  else if (skipped > 0) context.tell(`s2: codex skips ${skipped} of these hooks, which nobody trusts\n${TRUST_NEXT}`)
}

async function uninstall(context: CommandContext, options: ClientHooksOptions): Promise<void> {
  const clients = clientsNamed(options)
  refuseFailed(await changeEach(clients, context, options, (client) => uninstallFor(client, context, options)))
}

/** Takes the hooks away, and the server with them: one without the other is of no use. */
async function uninstallFor(
  client: Client,
  context: CommandContext,
  options: ClientHooksOptions,
): Promise<readonly FileChange[]> {
  const { wishes: byCommand, scope } = asked(context, client, options)
  const wishes = { ...byCommand, door: await doorHere(context, byCommand, scope) }
  const moves = await movesBy(planUninstall, wishes, scope)
  const places = codexPlaces(wishes, scope)
  const trust = client === 'codex' ? [trustFile(places, [], moves)] : []
  const edits = [...hookFiles(wishes, scope), ...mcpFiles(wishes, scope), ...trust]
  const changes = await changeFiles(context, options, edits, planUninstall)
  if (options.dryRun !== true) tellMoves(moves, places, context)
  if (wishes.door !== null && options.dryRun !== true) await removeHookDoor(stateFolder(context))
  return changes
}

/** Which hooks of others stand elsewhere for Codex after a change of ours. */
async function movesBy(
  plan: (edit: FileEdit) => Promise<FileChange>,
  wishes: HookWishes,
  scope: Scope,
): Promise<TrustMove[]> {
  if (wishes.client !== 'codex') return []
  const changes = await Promise.all(hookFiles(wishes, scope).map(plan))
  return changes.flatMap(trustMoves)
}

function tellMoves(moves: readonly TrustMove[], { hooks, config }: TrustPlaces, context: CommandContext): void {
  if (moves.length === 0) return
  context.tell(`s2: other hooks in ${hooks} stand at other places now, by which codex keeps its trust: what ${config} said of them went along
  next: /hooks in codex shows whether it trusts them
`)
}

/** The door that hooks of this client may be sent to; null where there is none, or it is of another user. */
async function doorHere(
  context: CommandContext,
  { client }: HookWishes,
  { isProject }: Scope,
): Promise<HookDoor | null> {
  if (client !== 'claude' || isProject) return null
  try {
    return await readHookDoor(stateFolder(context))
  } catch {
    return null
  }
}

/** A port that no program of this machine asks for by habit. */
const DOOR_PORT = 7_438

/** The door that keepalive opens on this host; asked for where it is not yet. */
async function doorFor(context: CommandContext, options: ClientHooksOptions): Promise<HookDoor> {
  const state = stateFolder(context)
  const known = await readHookDoor(state)
  if (known !== null) return known
  const door = { port: DOOR_PORT, secret: randomBytes(32).toString('hex') }
  if (options.dryRun !== true) await publishHookDoor(state, door)
  return door
}

/** What is said of a file, or of one hook in it. */
interface StatusRow {
  readonly agent: Client
  readonly what: 'hooks' | 'mcp' | 'trust'
  readonly state: string
  readonly path: string
  readonly command?: string
  readonly why?: string
}

/** Shows where hooks of S2 are installed; ends with 1 where none are. */
export async function clientHooksStatus(context: CommandContext, options: ClientHooksOptions): Promise<void> {
  const clients = options.agent === undefined ? CLIENTS : clientsNamed(options)
  const found: StatusRow[] = []
  for (const agent of clients) {
    for (const isProject of [false, true]) {
      const { wishes, scope } = asked(context, agent, isProject ? { project: true } : {})
      const door = await doorHere(context, wishes, scope)
      const hooks = [hookFiles(wishes, scope), ...(door === null ? [] : [hookFiles({ ...wishes, door }, scope)])]
      const ofHooks = await stateOf(hooks.flat())
      found.push({ agent, what: 'hooks', ...ofHooks })
      if (agent === 'codex' && ofHooks.state !== 'not installed')
        found.push(...(await trustRows(context, codexPlaces(wishes, scope))))
      found.push({ agent, what: 'mcp', ...(await stateOf(mcpFiles(wishes, scope))) })
    }
  }
  if (options.json === true) context.print(`${JSON.stringify(found, null, 2)}\n`)
  else
    for (const { agent, what, path, state, command, why } of found)
      context.print(`${agent.padEnd(9)}${what.padEnd(7)}${state.padEnd(14)}${command ?? why ?? path}\n`)
  if (found.some(({ what, state }) => what === 'trust' && /^(?:untrusted|modified|not read)$/.test(state)))
    context.tell(CODEX_TRUST)
  await tellUnseen(stateFolder(context), clients, 'seen', context)
  if (found.every(({ state }) => state === 'not installed')) throw new Exit(EXIT.failed)
}

/** What Codex itself says of each hook of S2 in a file. */
async function trustRows(context: CommandContext, { hooks: path }: TrustPlaces): Promise<StatusRow[]> {
  const row = { agent: 'codex', what: 'trust' } as const
  try {
    const hooks = await codexHooks(path, context)
    if (hooks.length === 0) return [{ ...row, state: 'not read', path }]
    return hooks.map(({ command, trust, isEnabled }) => ({
      ...row,
      state: isEnabled ? trust : 'switched off',
      path,
      command: plain(command),
    }))
  } catch (error) {
    return [{ ...row, state: 'unknown', path, why: (error as Error).message }]
  }
}

/** How a file stands to what would be written there; with several forms of it, one of them is enough. */
async function stateOf(forms: readonly FileEdit[]): Promise<{ path: string; state: string }> {
  const path = forms[0]?.path ?? ''
  try {
    for (const edit of forms) {
      const { before, after } = await planInstall(edit)
      if (before === after) return { path, state: 'installed' }
    }
    const { before, after } = await planUninstall(forms[0] as FileEdit)
    return { path, state: before === after ? 'not installed' : 'differs' }
  } catch {
    return { path, state: 'unreadable' }
  }
}

const TRUST_NEXT = `  next: s2 hooks install --agent codex --trust, or call /hooks in codex and trust those of s2
`
const CODEX_TRUST = `s2: codex runs no hook that nobody trusts, and says nothing of it
${TRUST_NEXT}`

function asked(
  context: CommandContext,
  client: Client,
  options: ClientHooksOptions,
): { wishes: HookWishes; scope: Scope } {
  if (options.user === true && options.project === true) throw new UsageError('--user and --project exclude each other')
  const { env, folder } = context
  const scope = { isProject: options.project === true, folder, home: env.HOME ?? homedir(), env }
  return { wishes: { client, state: stateNamed(context), door: null }, scope }
}

/** Each client once. A name that is none is refused before anything is done. */
function clientsNamed({ agent = [] }: ClientHooksOptions): readonly Client[] {
  return [...new Set(agent.map(clientNamed))]
}

function clientNamed(name: string): Client {
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

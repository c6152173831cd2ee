import { join } from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import { credentialPath, workerName } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { conversationOf, isConversationId } from '#fleet/session.ts'
import { closest, readSettings } from '#runtime/config.ts'
import { parseDuration } from '#runtime/settings.ts'
import { publish } from '#spool/atomic.ts'
import { publishCredential } from '#spool/credentials.ts'
import { credentialOf, readPublished, serialAfter, workerFile } from './enrol.ts'
import { UsageError } from './failure.ts'
import { Publication } from './publication.ts'
import { reachAdministration } from './reach.ts'
import type { Shell } from './shell.ts'
import { commandEnv } from './state.ts'
import { table } from './table.ts'
import { ago } from './text.ts'

const EXAMPLES = `
Examples:
  s2 conversation create --role-b backend --number 3 --remote ssh://git@host/fleet.git
        opens a channel to s2-worker-3 and pushes its credential to the remote
  s2 conversation create --role-b tests --number 4 --out .
        writes the worker's credential into this folder instead
  s2 conversation list
  s2 conversation end conv_0123456789abcdef

The orchestrator's own end is kept on this host, in the state folder. Tokens are not printed.`

export function define(command: Command, shell: Shell): void {
  command.addHelpText('after', EXAMPLES)
  defineCreate(command.command('create').description('open a channel and hand out both credentials'), shell)
  command
    .command('list')
    .description('list the channels that are open')
    .option('--json', 'print JSON')
    .action(async (options: { json?: true }) => await list(shell, options.json === true))
  command
    .command('end <conversation...>')
    .description('end channels: their tokens are void at once, open tasks go to others')
    .option('--json', 'print JSON')
    .action(async (ids: string[], options: { json?: true }) => await end(shell, ids, options.json === true))
}

interface CreateOptions {
  readonly roleA: string
  readonly roleB: string
  readonly agentA: string
  readonly agentB?: string
  readonly number?: number
  readonly lifetime?: number
  readonly remote?: string
  readonly branch?: string
  readonly out?: string
  readonly showTokens?: true
  readonly json?: true
}

function defineCreate(command: Command, shell: Shell): void {
  command
    .requiredOption('--role-b <role>', 'what kind of work the worker does')
    .option('--role-a <role>', "the other end's role", 'orchestrator')
    .option('--agent-a <name>', "the other end's agent", 'orchestrator')
    .option('--agent-b <name>', 'the worker; s2-worker-<number> unless said')
    .option('--number <n>', 'number of the worker: names its file in the remote', wholeNumber)
    .option('--lifetime <duration>', 'how long it lives unless renewed (S2_LIFETIME)', duration)
    .option('--remote <git>', "git remote to push the worker's credential to (S2_GIT_REMOTE)")
    .option('--branch <name>', 'branch of it (S2_GIT_BRANCH)')
    .option('--out <folder>', "write the worker's credential file there instead of pushing it")
    .option('--show-tokens', 'print the tokens too; they are secrets')
    .option('--json', 'print JSON')
    .action(async (options: CreateOptions) => await create(shell, options))
}

async function create(shell: Shell, options: CreateOptions): Promise<void> {
  const env = commandEnv(shell)
  const settings = readSettings(env, [
    'S2_STATE',
    'S2_LIFETIME',
    'S2_BRIDGE_URL',
    'S2_GIT_REMOTE',
    'S2_GIT_BRANCH',
    'S2_GIT_TIMEOUT',
  ])
  const { number, out } = options
  const agent = options.agentB ?? (number === undefined ? undefined : workerName(number))
  if (agent === undefined) throw new UsageError('whose channel is it?', 'name the worker by --number or --agent-b')
  const remote = out === undefined ? (options.remote ?? settings.S2_GIT_REMOTE) : undefined
  if (remote !== undefined && number === undefined)
    throw new UsageError('the remote names credential files by number', 'add --number, for example --number 3')
  if (remote === undefined && out === undefined && options.showTokens !== true)
    throw new UsageError("the worker's credential would go nowhere", 'add --remote, --out or --show-tokens')

  await using reached = await reachAdministration(shell)
  await using publication =
    remote === undefined
      ? null
      : await Publication.open(
          { remote, branch: options.branch ?? settings.S2_GIT_BRANCH, timeoutMs: settings.S2_GIT_TIMEOUT },
          { clock: shell.clock, chance: shell.chance, env: shell.env },
        )
  // The remote is read before anything is opened: one that cannot be reached leaves nothing behind.
  const before = publication === null || number === undefined ? null : await readPublished(publication, number)
  const opened = await reached.store.openConversation({
    roles: { a: options.roleA, b: options.roleB },
    agents: { a: options.agentA, b: agent },
    lifetimeMs: options.lifetime ?? settings.S2_LIFETIME,
  })
  const serial = serialAfter(before?.createdAt, opened.createdAt)
  const bridgeUrl = settings.S2_BRIDGE_URL
  const file = workerFile(opened, bridgeUrl, serial)
  try {
    await publishCredential(settings.S2_STATE, credentialOf(opened, 'a', bridgeUrl, opened.createdAt))
    if (publication !== null && number !== undefined) {
      await publication.publish(new Map([[credentialPath(number), file]]), `Credential of ${agent}`)
    }
    if (out !== undefined) await publish(join(out, `${agent}-credentials.json`), file)
  } catch (error) {
    // Nobody has the tokens: a channel that nobody can use would only hold work back.
    await reached.store.endConversation(opened.id).catch(() => undefined)
    throw error
  }
  const place =
    publication !== null && number !== undefined
      ? `${remote} ${credentialPath(number)}`
      : out !== undefined
        ? join(out, `${agent}-credentials.json`)
        : null
  const { tokens, ...conversation } = opened
  const shown = options.showTokens === true ? { ...conversation, tokens } : conversation
  if (options.json === true) return shell.print(`${JSON.stringify({ ...shown, credential: place })}\n`)
  shell.print(`${opened.id} is open: ${options.agentA} (${options.roleA}) and ${agent} (${options.roleB})\n`)
  if (place !== null) shell.print(`${agent}'s credential: ${place}\n`)
  if (options.showTokens === true) shell.print(`token a: ${tokens.a}\ntoken b: ${tokens.b}\n`)
}

async function list(shell: Shell, json: boolean): Promise<void> {
  await using reached = await reachAdministration(shell)
  const conversations = await reached.store.conversations()
  if (json) return shell.print(`${JSON.stringify(conversations, null, 2)}\n`)
  const now = shell.clock.wall()
  const rows = conversations.map(({ id, agents, roles, createdAt, expiresAt }) => [
    id,
    `${agents.a} (${roles.a})`,
    `${agents.b} (${roles.b})`,
    ago(now - createdAt),
    `in ${ago(expiresAt - now)}`,
  ])
  const titles = ['CONVERSATION', 'END A', 'END B', 'AGE', 'ENDS'].map((title) => ({ title }))
  shell.print(`${table(titles, rows, shell.screen.columns).join('\n')}\n`)
}

async function end(shell: Shell, ids: readonly string[], json: boolean): Promise<void> {
  await using reached = await reachAdministration(shell)
  const wanted = ids.map((id) => (id.includes('/') ? conversationOf(id as `${string}/a`) : id))
  for (const id of wanted) {
    if (!isConversationId(id)) throw new UsageError(`not a conversation: ${JSON.stringify(id)}`)
  }
  const live = (await reached.store.conversations()).map(({ id }) => id)
  for (const id of wanted) {
    await reached.store.endConversation(id).catch((error: unknown) => {
      throw withHint(error, id, live)
    })
    if (!json) shell.print(`${id} has ended\n`)
  }
  if (json) shell.print(`${JSON.stringify({ ended: wanted })}\n`)
}

function withHint(error: unknown, id: string, live: readonly string[]): unknown {
  if (!(error instanceof S2Error) || error.code !== 'not_found') return error
  const near = closest(id, live)
  const next = near === undefined ? '`s2 conversation list` shows those that are open' : `did you mean ${near}?`
  return new S2Error('not_found', `there is no conversation ${id}`, { next })
}

export function wholeNumber(text: string): number {
  const value = /^\d{1,7}$/.test(text) ? Number(text) : Number.NaN
  if (Number.isNaN(value)) throw new InvalidArgumentError('It must be a whole number.')
  return value
}

export function duration(text: string): number {
  try {
    return parseDuration(text)
  } catch {
    throw new InvalidArgumentError('It must be a duration such as 30s, 5m or 3h.')
  }
}

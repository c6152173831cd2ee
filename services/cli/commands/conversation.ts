import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { commandEnv } from '#console/state-folder.ts'
import { reachAdministration } from '#console/store-access.ts'
import { table } from '#console/table.ts'
import { ago } from '#console/terminal-text.ts'
import type { OpenedConversation } from '#fleet/conversation.ts'
import { workerName } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { conversationOf, isConversationId, sessionId } from '#fleet/session-id.ts'
import { bridgeAccessFor, notDelivered, openDelivery } from '#issuing/deliver-credential.ts'
import { hintAfterPush } from '#issuing/hint-workers.ts'
import { credentialOf, serialAfter, workerFile } from '#issuing/worker-credential-file.ts'
import { closest, readSettings } from '#runtime/read-settings.ts'
import { publishCredential, removeCredential } from '#spool/credentials.ts'
import { agentName, gitRemote, lifetime, role, wholeNumber } from '../option-parsers.ts'

const EXAMPLES = `
Examples:
  s2 conversation create --role-b backend --number 3 --remote ssh://git@host/fleet.git
        opens a conversation with s2-worker-3 and pushes its credential to the remote
  s2 conversation create --role-b tests --number 4 --out .
        writes the worker's credential into this folder instead
  s2 conversation list
  s2 conversation end conv_0123456789abcdef

The orchestrator's own end is kept on this host, in the state folder. Tokens are not printed.`

export function define(command: Command, context: CommandContext): void {
  command.addHelpText('after', EXAMPLES)
  defineCreate(command.command('create').description('open a conversation and deliver both credentials'), context)
  command
    .command('list')
    .description('list the open conversations')
    .option('--json', 'print JSON')
    .action(async (options: { json?: true }) => await list(context, options.json === true))
  command
    .command('end <conversation...>')
    .description('end conversations: their tokens are void at once, and their open tasks go to other agents')
    .option('--json', 'print JSON')
    .action(async (ids: string[], options: { json?: true }) => await end(context, ids, options.json === true))
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

function defineCreate(command: Command, context: CommandContext): void {
  command
    .requiredOption('--role-b <role>', 'the kind of work that the worker does', role)
    .option('--role-a <role>', "the other end's role", role, 'orchestrator')
    .option('--agent-a <name>', "the other end's agent", agentName, 'orchestrator')
    .option('--agent-b <name>', 'the worker; by default s2-worker-<number>', agentName)
    .option('--number <n>', 'number of the worker: names its file in the remote', wholeNumber)
    .option('--lifetime <duration>', 'how long it lasts unless renewed (S2_LIFETIME)', lifetime)
    .option('--remote <git>', "git remote to push the worker's credential to (S2_GIT_REMOTE)", gitRemote)
    .option('--branch <name>', 'branch of it (S2_GIT_BRANCH)')
    .option('--out <folder>', "write the worker's credential file there instead of pushing it")
    .option('--show-tokens', 'print the tokens too; they are secrets')
    .option('--json', 'print JSON')
    .action(async (options: CreateOptions) => await create(context, options))
}

async function create(context: CommandContext, options: CreateOptions): Promise<void> {
  const settings = readSettings(commandEnv(context), ['S2_STATE', 'S2_LIFETIME'])
  const { number } = options
  const agent = options.agentB ?? (number === undefined ? undefined : workerName(number))
  if (agent === undefined)
    throw new UsageError('missing --number or --agent-b', 'name the worker whose conversation it is')
  await using handout = await openDelivery(context, agent, options)
  if (handout === null && options.showTokens !== true)
    throw new UsageError("no place is named for the worker's credential", 'add --remote, --out or --show-tokens')
  await using reached = await reachAdministration(context)
  const access = await bridgeAccessFor(context, reached.credentials)
  const opened = await reached.store.openConversation({
    roles: { a: options.roleA, b: options.roleB },
    agents: { a: options.agentA, b: agent },
    lifetimeMs: options.lifetime ?? settings.S2_LIFETIME,
  })
  const file = workerFile(opened, access, serialAfter(handout?.before?.createdAt, opened.createdAt))
  let place: string | null = null
  try {
    await publishCredential(settings.S2_STATE, credentialOf(opened, 'a', access, opened.createdAt))
    place = (await handout?.put(file, `Credential of ${agent}`)) ?? null
  } catch (error) {
    // Nobody has the worker's token: a conversation that nobody can use would only hold work back.
    await reached.store.endConversation(opened.id).catch(() => undefined)
    await removeCredential(settings.S2_STATE, sessionId(opened.id, 'a')).catch(() => undefined)
    throw notDelivered(error, 'the conversation was closed again: mend the cause, then run the command once more')
  }
  if (handout !== null && options.out === undefined) await hintAfterPush(context, reached, agent)
  tellOpened(context, opened, place, options)
}

function tellOpened(
  context: CommandContext,
  opened: OpenedConversation,
  place: string | null,
  options: CreateOptions,
): void {
  const { tokens, ...conversation } = opened
  const { id, agents, roles } = conversation
  const shown = options.showTokens === true ? { ...conversation, tokens } : conversation
  if (options.json === true) {
    context.print(`${JSON.stringify({ ...shown, credential: place })}\n`)
    return
  }
  context.print(`${id} is open: ${agents.a} (${roles.a}) and ${agents.b} (${roles.b})\n`)
  if (place !== null) context.print(`${agents.b}'s credential: ${place}\n`)
  if (options.showTokens === true) context.print(`token a: ${tokens.a}\ntoken b: ${tokens.b}\n`)
}

async function list(context: CommandContext, json: boolean): Promise<void> {
  await using reached = await reachAdministration(context)
  const conversations = await reached.store.conversations()
  if (json) return context.print(`${JSON.stringify(conversations, null, 2)}\n`)
  const now = context.clock.wall()
  const rows = conversations.map(({ id, agents, roles, createdAt, expiresAt }) => [
    id,
    `${agents.a} (${roles.a})`,
    `${agents.b} (${roles.b})`,
    ago(now - createdAt),
    `in ${ago(expiresAt - now)}`,
  ])
  const titles = ['CONVERSATION', 'END A', 'END B', 'AGE', 'ENDS'].map((title) => ({ title }))
  context.print(`${table(titles, rows, context.screen.columns).join('\n')}\n`)
}

async function end(context: CommandContext, ids: readonly string[], json: boolean): Promise<void> {
  await using reached = await reachAdministration(context)
  const wanted = ids.map((id) => (id.includes('/') ? conversationOf(id as `${string}/a`) : id))
  for (const id of wanted) {
    if (!isConversationId(id))
      throw new UsageError(
        `not a conversation: ${JSON.stringify(id)}`,
        '`s2 conversation list` shows those that are open',
      )
  }
  const live = (await reached.store.conversations()).map(({ id }) => id)
  for (const id of wanted) {
    await reached.store.endConversation(id).catch((error: unknown) => {
      throw withHint(error, id, live)
    })
    if (!json) context.print(`${id} has ended\n`)
  }
  if (json) context.print(`${JSON.stringify({ ended: wanted })}\n`)
}

function withHint(error: unknown, id: string, live: readonly string[]): unknown {
  if (!(error instanceof S2Error) || error.code !== 'not_found') return error
  const near = closest(id, live)
  const next = near === undefined ? '`s2 conversation list` shows those that are open' : `did you mean ${near}?`
  return new S2Error('not_found', `there is no conversation ${id}`, { next })
}

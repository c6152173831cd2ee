import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { commandEnv } from '#console/state-folder.ts'
import { reachAdministration, reachFleet } from '#console/store-access.ts'
import { table } from '#console/table.ts'
import { ago } from '#console/terminal-text.ts'
import type { OpenedConversation } from '#fleet/conversation.ts'
import { S2Error } from '#fleet/errors.ts'
import { conversationOf, isConversationId, sessionId } from '#fleet/session-id.ts'
import { bridgeAccessOf } from '#issuing/bridge-access.ts'
import { closest, readSettings } from '#runtime/read-settings.ts'
import { publishCredential } from '#spool/credentials.ts'
import { agentName, lifetime, role } from '../option-parsers.ts'

const EXAMPLES = `
Examples:
  s2 conversation list
  s2 conversation end conv_0123456789abcdef
  s2 conversation create --role-b reviewer --agent-b my-script --show-tokens
        a channel for an agent that speaks to the bridge by itself; workers of S2 join by s2 worker invite

The orchestrator's own end is kept on this host, in the state folder.`

export function define(command: Command, context: CommandContext): void {
  command.addHelpText('after', EXAMPLES)
  defineCreate(
    command.command('create').description('open a conversation with an agent that is no worker of S2'),
    context,
  )
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
  readonly agentB: string
  readonly lifetime?: number
  readonly showTokens?: true
  readonly json?: true
}

function defineCreate(command: Command, context: CommandContext): void {
  command
    .requiredOption('--role-b <role>', 'the kind of work that the agent does', role)
    .requiredOption('--agent-b <name>', "the agent's name", agentName)
    .option('--role-a <role>', "the other end's role", role, 'orchestrator')
    .option('--agent-a <name>', "the other end's agent", agentName, 'orchestrator')
    .option('--lifetime <duration>', 'how long it lasts unless renewed (S2_LIFETIME)', lifetime)
    .option('--show-tokens', 'print the tokens, which no other command shows; they are secrets')
    .option('--json', 'print JSON')
    .action(async (options: CreateOptions) => await create(context, options))
}

async function create(context: CommandContext, options: CreateOptions): Promise<void> {
  const env = commandEnv(context)
  const settings = readSettings(env, ['S2_STATE', 'S2_LIFETIME', 'S2_BRIDGE_URL', 'S2_TLS_CA'])
  if (options.showTokens !== true)
    throw new UsageError(
      'the tokens would be known to nobody',
      'add --show-tokens; for a worker of S2: s2 worker invite',
    )
  await using reached = await reachAdministration(context)
  const known = env.S2_BRIDGE_URL === undefined ? reached.credentials[0]?.bridgeUrl : undefined
  const access = await bridgeAccessOf({ ...settings, S2_BRIDGE_URL: known ?? settings.S2_BRIDGE_URL })
  const opened = await reached.store.openConversation({
    roles: { a: options.roleA, b: options.roleB },
    agents: { a: options.agentA, b: options.agentB },
    lifetimeMs: options.lifetime ?? settings.S2_LIFETIME,
  })
  await publishCredential(settings.S2_STATE, {
    session: sessionId(opened.id, 'a'),
    token: opened.tokens.a,
    agent: options.agentA,
    role: options.roleA,
    ...access,
    createdAt: opened.createdAt,
    expiresAt: opened.expiresAt,
  })
  tellOpened(context, opened, options)
}

function tellOpened(context: CommandContext, opened: OpenedConversation, { json }: CreateOptions): void {
  const { id, agents, roles, tokens } = opened
  if (json === true) {
    context.print(`${JSON.stringify(opened)}\n`)
    return
  }
  context.print(`${id} is open: ${agents.a} (${roles.a}) and ${agents.b} (${roles.b})\n`)
  context.print(`token a: ${tokens.a}\ntoken b: ${tokens.b}\n`)
}

async function list(context: CommandContext, json: boolean): Promise<void> {
  await using reached = await reachFleet(context)
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

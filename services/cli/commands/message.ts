import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { reachFleet } from '#console/store-access.ts'
import { table } from '#console/table.ts'
import { ago, oneLine } from '#console/terminal-text.ts'
import { agentNames } from '#fleet/conversation.ts'
import type { MessageStatus } from '#fleet/message-leases.ts'
import type { Store } from '#store/store.ts'
import { messageNumber } from '../option-parsers.ts'

const EXAMPLES = `
Examples:
  s2 message show 12           how far it came: queued, delivered, leased, acked, or a dead letter
  s2 message dead              messages that were handed out five times and never acked
  s2 message retry 12 14       send them again, as new messages of the same writers
  s2 message drop 12           let it go for good

A message is shown to its sender, its reader and the bridge's own host. Who leads a conversation decides on its dead letters.`

interface Options {
  readonly json?: true
}

export function define(command: Command, context: CommandContext): void {
  command.addHelpText('after', EXAMPLES)
  command
    .command('show')
    .description('show how far a message has come')
    .argument('<id>', 'its number', messageNumber)
    .option('--json', 'print JSON')
    .action(async (id: number, options: Options) => await show(context, id, options))
  command
    .command('dead')
    .description('list the dead letters that nobody decided on')
    .option('--json', 'print JSON')
    .action(async (options: Options) => await listDead(context, options))
  command
    .command('retry')
    .description('send dead letters again')
    .argument('<id...>', 'their numbers', numbers)
    .option('--json', 'print JSON')
    .action(async (ids: number[], options: Options) => await retry(context, ids, options))
  command
    .command('drop')
    .description('let dead letters go for good')
    .argument('<id...>', 'their numbers', numbers)
    .option('--json', 'print JSON')
    .action(async (ids: number[], options: Options) => await drop(context, ids, options))
}

/** Of an argument that may be given many times. */
function numbers(text: string, before: readonly number[] = []): number[] {
  return [...before, messageNumber(text)]
}

async function show(context: CommandContext, id: number, { json }: Options): Promise<void> {
  await using reached = await reachFleet(context)
  const status = await reached.store.messageStatus(id)
  if (json === true) return context.print(`${JSON.stringify(status, null, 2)}\n`)
  const nameOf = agentNames(await reached.store.conversations())
  const now = context.clock.wall()
  for (const [name, value] of linesOf(status, nameOf, now)) context.print(`${name.padEnd(10)} ${oneLine(value)}\n`)
}

function linesOf(status: MessageStatus, nameOf: (session: string) => string, now: number): [string, string][] {
  const { id, to, delivery, queuedAt, deliveredAt, leasedAt, leasedBy, leases, ackedAt, dead } = status
  const when = (at: number | null): string =>
    at === null ? '-' : `${new Date(at).toISOString()} (${ago(now - at)} ago)`
  const with_ = leasedBy === null ? '' : ` by ${leasedBy}`
  const times = leases === 0 ? '' : `, handed out ${leases === 1 ? 'once' : `${leases} times`}${with_}`
  return [
    ['message', String(id)],
    ['from', writerOf(status, nameOf)],
    ['to', `${nameOf(to)} (${to})`],
    ['state', dead === null ? delivery : `dead letter, ${fateOf(dead)}`],
    ['queued', when(queuedAt)],
    ['delivered', when(deliveredAt)],
    ['leased', `${when(leasedAt)}${times}`],
    ['acked', when(ackedAt)],
    ...(dead === null ? [] : [['dead', `${when(dead.at)}: ${dead.why}`] as [string, string]]),
  ]
}

function writerOf({ author, sender }: MessageStatus, nameOf: (session: string) => string): string {
  return `${sender ?? nameOf(author)} (${author})`
}

function fateOf({ settledAs }: NonNullable<MessageStatus['dead']>): string {
  if (settledAs === null) return 'undecided'
  return settledAs === 0 ? 'dropped' : `sent again as message ${settledAs}`
}

const COLUMNS = [
  { title: 'ID' },
  { title: 'FROM' },
  { title: 'TO' },
  { title: 'DEAD' },
  { title: 'WHY', stretches: true },
]

async function listDead(context: CommandContext, { json }: Options): Promise<void> {
  await using reached = await reachFleet(context)
  const dead = await reached.store.deadLetters()
  if (json === true) return context.print(`${JSON.stringify(dead, null, 2)}\n`)
  if (dead.length === 0) return context.print('there are no dead letters\n')
  const nameOf = agentNames(await reached.store.conversations())
  const now = context.clock.wall()
  const rows = dead.map((status) => {
    const { id, to, author, sender, dead: letter } = status
    return [String(id), sender ?? nameOf(author), nameOf(to), ago(now - (letter?.at ?? now)), letter?.why ?? '']
  })
  context.print(`${table(COLUMNS, rows, context.screen.columns).join('\n')}\n`)
}

async function retry(context: CommandContext, ids: readonly number[], { json }: Options): Promise<void> {
  await using reached = await reachFleet(context)
  const sent = await reached.store.retryMessages(ids)
  if (json === true) return context.print(`${JSON.stringify(sent.map(({ id, to }) => ({ id, to })))}\n`)
  const nameOf = agentNames(await conversationsOf(reached.store))
  for (const [index, { id, to }] of sent.entries())
    context.print(`message ${ids[index]} was sent again to ${oneLine(nameOf(to))} as message ${id}\n`)
}

/** Names are for people: what was done is told without them too. */
async function conversationsOf(store: Store): ReturnType<Store['conversations']> {
  return await store.conversations().catch(() => [])
}

async function drop(context: CommandContext, ids: readonly number[], { json }: Options): Promise<void> {
  await using reached = await reachFleet(context)
  await reached.store.dropMessages(ids)
  context.print(json === true ? `${JSON.stringify({ dropped: ids })}\n` : `dropped: ${ids.join(', ')}\n`)
}

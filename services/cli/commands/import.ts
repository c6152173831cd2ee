import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { commandEnv } from '#console/state-folder.ts'
import { storeParts } from '#console/store-access.ts'
import { table } from '#console/table.ts'
import { counted, oneLine } from '#console/terminal-text.ts'
import { readSettings } from '#runtime/read-settings.ts'
import { databasePathOf } from '#store/sqlite/file/database-path.ts'
import { roomIn } from '#store/sqlite/file/disk-room.ts'
import {
  HERE_ALREADY,
  type Import,
  type ImportOrder,
  importDatabase,
  type LeftBehind,
  planImport,
} from '#store/sqlite/import/import-database.ts'
import type { ConversationPlan } from '#store/sqlite/import/plan-import.ts'
import { databasePath } from '../local-database.ts'

const EXAMPLES = `
Examples:
  s2 import /tmp/claude_bridge_secure.db         shows what would be taken, and changes nothing
  s2 import /tmp/claude_bridge_secure.db --yes
  s2 import bridge.db.held-20261121T031700 --yes

It takes a file of the Python bridge of any age, of the protocol's scripts, or of S2 itself: live conversations with their
tokens, unread mail, and what was said about open tasks; of a file of S2, every message that the database lacks. The file
stays as it is. What was taken is not taken again, so it can be repeated at any time, also while programs use both files.`

interface Options {
  readonly yes?: boolean
  readonly json?: true
}

export function define(command: Command, context: CommandContext): void {
  command
    .argument('<file>', 'the database of another bridge')
    .option('--yes', 'bring it over')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (file: string, options: Options) => await bringOver(context, file, options))
}

async function bringOver(context: CommandContext, name: string, { yes = false, json }: Options): Promise<void> {
  const env = commandEnv(context)
  const { S2_STATE: state, S2_LIFETIME: lifetimeMs } = readSettings(env, ['S2_STATE', 'S2_LIFETIME'])
  // SQLite keeps the log beside the file itself, not beside a link to it
  const { path: file } = await databasePathOf(resolve(context.folder, name))
  const order = { file, database: databasePath(env), state, lifetimeMs }
  const parts = { ...storeParts(context), roomIn }
  const found = yes ? await importDatabase(order, parts) : await planImport(order, parts)
  if (json === true) context.print(`${JSON.stringify(asJson(found, order, yes), null, 2)}\n`)
  else context.print(`${inLines(found, order, yes, context.screen.columns).join('\n')}\n`)
}

function asJson({ conversations, ...found }: Import, { file, database }: ImportOrder, isTaken: boolean): object {
  const rows = conversations.map(({ conversation: { id, roles }, settled, present, ...plan }) => {
    return { id, roles, ...plan, messages: plan.messages.length, acks: plan.acks.length }
  })
  return { file, database, taken: isTaken, ...found, conversations: rows }
}

function inLines(found: Import, order: ImportOrder, isTaken: boolean, width: number): string[] {
  const { conversations, leftBehind } = found
  const acks = conversations.reduce((sum, each) => sum + each.acks.length, 0)
  return [
    `${order.file} is a file of ${MAKERS[found.kind]}`,
    ...(conversations.length === 0 ? [] : table(COLUMNS, conversations.map(rowOf), width)),
    ...leftBehind.map(leftInWords),
    ...(acks === 0 ? [] : [`  read in the file and unread here: ${counted(acks, 'message')}, taken for read`]),
    ...(found.knowsWhatWasRead ? [] : ['  it does not say what was read, so all of it counts as read']),
    ...(conversations.some(({ here, messages }) => here === 'ended' && messages.length > 0) ? [ENDED_HERE] : []),
    ...outcome(found, order, isTaken),
  ]
}

function outcome(
  { kind, conversations, leftBehind }: Import,
  { file, database }: ImportOrder,
  isTaken: boolean,
): string[] {
  if (conversations.length === 0)
    return [`nothing is missing in ${database}`, ...(kind === 's2' ? [moveAway(file, leftBehind)] : [])]
  const messages = conversations.reduce((sum, plan) => sum + plan.messages.length, 0)
  const what = `${counted(messages, 'message')} of ${counted(conversations.length, 'conversation')}`
  if (!isTaken) return ['nothing was changed', `  next: s2 import ${file} --yes takes ${what} over into ${database}`]
  const renewed = conversations.find(({ tokens }) => tokens === 'new')
  const tokens = `  new tokens: s2 credential rotate ${renewed?.conversation.id}/b --show-token, for each end that wants one`
  return [
    `${what} taken over into ${database}`,
    ...(renewed === undefined ? [] : [tokens]),
    kind === 's2'
      ? moveAway(file, leftBehind)
      : `  next: start the other bridge with ${database}: agents of its live conversations go on with their tokens`,
  ]
}

function moveAway(file: string, leftBehind: readonly LeftBehind[]): string {
  if (leftBehind.some(({ why }) => why !== HERE_ALREADY))
    return `  next: move ${file} away, and keep it: what is left behind is nowhere else`
  return `  next: ${file} holds nothing that is not here: move it away`
}

const MAKERS: Readonly<Record<Import['kind'], string>> = {
  bridge: 'the Python bridge',
  scripts: "the protocol's scripts",
  s2: 'S2',
}

const COLUMNS = [
  { title: 'CONVERSATION' },
  { title: 'ROLES', stretches: true },
  { title: 'IN THE FILE' },
  { title: 'MESSAGES' },
  { title: 'UNREAD A/B' },
  { title: 'OPEN TASKS' },
  { title: 'TOKENS' },
]

function rowOf({ conversation, state, tokens, messages, unread, openTasks }: ConversationPlan): string[] {
  const { id, roles } = conversation
  const counts = [String(messages.length), `${unread.a}/${unread.b}`, String(openTasks.length)]
  return [id, `${roles.a}, ${roles.b}`, state, ...counts, TOKENS[tokens]]
}

const TOKENS: Readonly<Record<ConversationPlan['tokens'], string>> = { kept: 'kept', new: 'new', here: 'as here' }

const ENDED_HERE = '  messages of a conversation that has ended here are kept with it, and nobody is given them'

function leftInWords({ count, what, why }: LeftBehind): string {
  return `  ${oneLine(`left behind: ${counted(count, what)} (${why})`)}`
}

import type { Client } from '#agents/client-session.ts'
import type { CommandContext } from '#console/context.ts'
import { Exit, type Failure, failureOf, formatFailure } from '#console/failure.ts'
import { byFile, carryOut, type FileChange, type FileEdit, planInstall } from './file-edits.ts'
import { unifiedDiff } from './unified-diff.ts'

/** How changes are made and told. */
interface ChangeOptions {
  readonly dryRun?: true
  readonly json?: true
}

/** What came of the clients that were named. */
interface ChangedClients {
  readonly changed: readonly Client[]
  readonly failures: readonly Failure[]
}

/**
 * Does the same for each client, in order. Of several one that fails is told, and hides no other; an only one throws. JSON is one text
 * for all of them.
 */
export async function changeEach(
  clients: readonly Client[],
  context: CommandContext,
  options: ChangeOptions,
  act: (client: Client) => Promise<readonly FileChange[]>,
): Promise<ChangedClients> {
  const done = new Map<Client, readonly FileChange[]>()
  const failures: Failure[] = []
  for (const client of clients) {
    try {
      done.set(client, await act(client))
    } catch (error) {
      if (clients.length === 1) throw error
      const failure = failureOf(error)
      context.tell(formatFailure({ ...failure, message: `${client}: ${failure.message}` }, options.json === true))
      failures.push(failure)
    }
  }
  if (options.json === true) context.print(`${JSON.stringify(inJson(done, options), null, 2)}\n`)
  return { changed: [...done.keys()], failures }
}

/** The command ends as the first client that failed would have ended it alone. */
export function refuseFailed({ failures: [first] }: ChangedClients): void {
  if (first !== undefined) throw new Exit(first.exit)
}

/** Plans all changes of one client before it makes the first: a broken file leaves every other as it is. */
export async function changeFiles(
  context: CommandContext,
  { dryRun, json }: ChangeOptions,
  wanted: readonly FileEdit[],
  plan: (edit: FileEdit) => Promise<FileChange>,
): Promise<readonly FileChange[]> {
  const edits = byFile(wanted)
  const changes: FileChange[] = []
  for (const edit of edits) changes.push(await plan(edit))
  if (dryRun !== true) {
    for (const [index, edit] of edits.entries())
      await carryOut(edit, changes[index] as FileChange, plan === planInstall)
  }
  const lines = changes.map((each) => `${each.path} ${whatOf(each)}\n`)
  if (json !== true) context.print(dryRun === true ? diffOf(changes) : lines.join(''))
  return changes
}

function inJson(done: ReadonlyMap<Client, readonly FileChange[]>, { dryRun }: ChangeOptions): object {
  if (dryRun === true) return { diff: diffOf([...done.values()].flat()) }
  return [...done].flatMap(([agent, changes]) =>
    changes.map((change) => ({ agent, path: change.path, what: whatOf(change) })),
  )
}

/** A diff is shown, kept and passed on. */
const SECRET = /Bearer [0-9a-f]{64}/g

function diffOf(changes: readonly FileChange[]): string {
  return changes
    .map(({ path, before, after }) => unifiedDiff(path, before, after))
    .join('')
    .replaceAll(SECRET, 'Bearer …')
}

function whatOf({ before, after }: FileChange): string {
  if (before === after) return before === null ? 'is not there' : 'is as it should be'
  return after === null ? 'is removed' : 'is written'
}

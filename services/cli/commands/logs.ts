import { readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { Command } from 'commander'
import { type CommandContext, ENDING_SIGNALS } from '#console/context.ts'
import { stateFolder } from '#console/state-folder.ts'
import { plain } from '#console/terminal-text.ts'
import { S2Error } from '#fleet/errors.ts'
import { LineRedactor } from '#fleet/line-redactor.ts'
import { formerOf } from '#spool/line-log.ts'
import { logsIn, readLog, taskLog } from '#spool/task-log.ts'
import { count } from '../option-parsers.ts'

const EXAMPLES = `
Examples:
  s2 logs                      what the latest task on this host printed
  s2 logs t-0123456789         what a task printed on this host
  s2 logs s2-worker-1 -f       what an agent of a local fleet prints, as it comes

It shows what s2 work saw on this host: what the client said, which tools it used, how it ended. Secrets are left out.`

interface Options {
  readonly follow?: true
  readonly lines: number
  readonly json?: true
}

const LOOK_MS = 300

export function define(command: Command, context: CommandContext): void {
  command
    .argument('[of]', 'a task, or an agent of the fleet that runs from this folder; left out: the latest task')
    .option('-f, --follow', 'go on with what comes')
    .option('-n, --lines <n>', 'so many of the last lines', count, 20)
    .option('--json', 'print JSON, one line each')
    .addHelpText('after', EXAMPLES)
    .action((of: string | undefined, options: Options) => show(context, of, options))
}

/** A log: the state folder that it lies in, and its task. */
interface Found {
  readonly state: string
  readonly task: string
}

async function show(context: CommandContext, of: string | undefined, options: Options): Promise<void> {
  const state = stateFolder(context)
  const ending = new AbortController()
  using _ = context.onSignal(ENDING_SIGNALS, () => ending.abort())
  let found = await find(state, of)
  if (found === null) throw unknown(of)
  const say = printer(context, options)
  for (;;) {
    say.task(found.task)
    let end = await printLast(found, options.lines, say.line)
    for (;;) {
      if (options.follow !== true || ending.signal.aborted) return
      await context.clock.sleep(LOOK_MS, ending.signal).catch(() => undefined)
      end = await printAfter(found, end, say.line)
      const latest = await find(state, of)
      if (latest === null || (latest.task === found.task && latest.state === found.state)) continue
      found = latest
      break
    }
  }
}

function unknown(of: string | undefined): S2Error {
  const what = of === undefined ? 'no log of a task lies' : `no log of ${JSON.stringify(of)} lies`
  return new S2Error('not_found', `${what} on this host`, {
    next: '`s2 task show` says which agent has a task: its log lies on the host of that agent',
  })
}

/** The log of a task, or the newest one of an agent or of all. */
async function find(state: string, of: string | undefined): Promise<Found | null> {
  const workers = join(state, 'workers')
  const agents = (await readdir(workers).catch(() => [])).map((name) => join(workers, name))
  const all: (Found & { readonly changedAt: number })[] = []
  for (const each of [state, ...agents]) {
    const isMeant = of === undefined || basename(each) === of
    for (const log of await logsIn(each)) if (isMeant || log.task === of) all.push({ state: each, ...log })
  }
  return all.sort((x, y) => y.changedAt - x.changedAt)[0] ?? null
}

type Say = (line: string) => void

async function printLast({ state, task }: Found, most: number, say: Say): Promise<number> {
  const path = taskLog(state, task)
  const { text, end } = await readLog(path, 0)
  const lines = linesOf(text)
  const earlier = lines.length >= most ? [] : linesOf((await readLog(formerOf(path), 0).catch(() => NOTHING)).text)
  for (const line of most === 0 ? [] : [...earlier, ...lines].slice(-most)) say(line)
  return end
}

const NOTHING = { text: '' }

async function printAfter({ state, task }: Found, from: number, say: Say): Promise<number> {
  const { text, end } = await readLog(taskLog(state, task), from).catch(() => ({ text: '', end: from }))
  for (const line of linesOf(text)) say(line)
  return end
}

function linesOf(text: string): string[] {
  return text.split('\n').slice(0, -1)
}

function printer(context: CommandContext, { json }: Options): { task(task: string): void; line: Say } {
  let of = ''
  const redactor = new LineRedactor()
  return {
    task: (task) => {
      of = task
      if (json !== true) context.tell(`s2: task ${task}\n`)
    },
    line: (line) => {
      const clean = redactor.next(line)
      context.print(json === true ? `${JSON.stringify({ task: of, line: clean })}\n` : `${plain(clean)}\n`)
    },
  }
}

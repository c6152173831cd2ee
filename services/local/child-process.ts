import { spawn } from 'node:child_process'
import { signalGroup } from '#runtime/run-command.ts'
import type { ChildLog } from './child-log.ts'
import type { ChildEnd, RunningChild } from './keep-process-running.ts'

export interface ChildSpec {
  readonly argv: readonly [string, ...string[]]
  readonly env: Readonly<Record<string, string | undefined>>
  readonly folder: string
}

/** Characters of an unfinished line that are kept until its end comes. */
const LINE_MAX = 16_384

/** Starts a program in a session of its own, writes its output to the log, and passes each line on. */
export function startChild(spec: ChildSpec, log: ChildLog, onLine: (line: string) => void): RunningChild {
  const [file, ...args] = spec.argv
  const child = spawn(file, args, {
    cwd: spec.folder,
    env: spec.env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = new Promise<ChildEnd>((resolve) => {
    child.once('error', (error) => {
      log.write(`${error.message}\n`)
      if (child.pid === undefined) resolve({ code: null, signal: null })
    })
    // The last output may arrive after the exit event: it is read before the end is reported.
    child.once('exit', (code, signal) => setImmediate(resolve, { code, signal }))
  })
  for (const stream of [child.stdout, child.stderr]) {
    let open = ''
    stream.on('data', (chunk: Buffer) => {
      log.write(chunk)
      const lines = (open + chunk.toString('utf8')).split('\n')
      open = (lines.pop() ?? '').slice(0, LINE_MAX)
      for (const line of lines) onLine(line)
    })
  }
  const { pid } = child
  if (pid === undefined) throw new Error(`${file} could not be started`)
  return { pid, ended, signal: (signal) => signalGroup(pid, signal) }
}

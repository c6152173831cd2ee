import { spawn } from 'node:child_process'
import { textHead } from '#fleet/cut-text.ts'
import { signalGroup } from '#runtime/run-command.ts'
import { startedProcess } from '#runtime/start-error.ts'
import type { ChildLog } from './child-log.ts'
import type { ChildEnd, RunningChild } from './keep-process-running.ts'

export interface ChildSpec {
  readonly argv: readonly [string, ...string[]]
  readonly env: Readonly<Record<string, string | undefined>>
  readonly folder: string
}

/** Characters of an unfinished line that are kept until its end comes. */
const LINE_MAX = 16_384

/**
 * Starts a program in a session of its own, writes its output to the log, and passes each line on. Throws a `StartError` where it
 * cannot be started.
 */
export function startChild(spec: ChildSpec, log: ChildLog, onLine: (line: string) => void): RunningChild {
  const [file, ...args] = spec.argv
  const { folder: cwd, env } = spec
  const child = startedProcess({ ...spec, cwd }, () =>
    spawn(file, args, { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] }),
  )
  const ended = new Promise<ChildEnd>((resolve) => {
    child.on('error', (error) => log.write(`${error.message}\n`))
    // The last output may arrive after the exit event: it is read before the end is reported.
    child.once('exit', (code, signal) => setImmediate(resolve, { code, signal }))
  })
  for (const stream of [child.stdout, child.stderr]) {
    const decoder = new TextDecoder()
    let open = ''
    stream.on('data', (chunk: Buffer) => {
      log.write(chunk)
      const lines = (open + decoder.decode(chunk, { stream: true })).split('\n')
      open = textHead(lines.pop() ?? '', LINE_MAX)
      for (const line of lines) onLine(line)
    })
  }
  const { pid } = child
  return { pid, ended, signal: (signal) => signalGroup(pid, signal) }
}

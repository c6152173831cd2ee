import { spawn } from 'node:child_process'
import type { TestContext } from 'node:test'
import type { KnownProcess } from '#runtime/process-life.ts'
import { processStart } from '#runtime/process-stat.ts'

/** A process that stands for a client until the test ends: it bears a program's name, and has an environment of its own. */
export function standInClient(
  t: Pick<TestContext, 'after'>,
  { env = {}, name = 'claude' }: { readonly env?: Record<string, string>; readonly name?: string } = {},
): KnownProcess {
  const child = spawn('sleep', ['600'], { env, argv0: name })
  t.after(() => child.kill('SIGKILL'))
  const { pid = 0 } = child
  return { pid, startTicks: processStart(pid) ?? '' }
}

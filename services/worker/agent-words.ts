import type { SessionId } from '#fleet/session-id.ts'
import { pidNamespace } from '#runtime/process-life.ts'
import { processStart } from '#runtime/process-stat.ts'
import { type RunningTask, RunningTasks, type SaidOfTask } from '#spool/running-tasks.ts'

type TaskAtHand = Pick<RunningTask, 'session' | 'task' | 'epoch'>

/** What agents say themselves of the tasks that they are run for, by the tools and commands of S2. */
export interface AgentWords {
  /** Lets what runs inside a task find that it does, and calls back for its words. Throws `unavailable` when the disk refuses. */
  listen(task: TaskAtHand, onWord: (said: SaidOfTask) => void): Promise<HeardTask>
  /** The tasks of these sessions that their agents ended, and a former run did not live to report. */
  left(sessions: readonly SessionId[]): Promise<readonly SaidOfTask[]>
  /** Called once its end is kept elsewhere. */
  forget(said: Pick<SaidOfTask, 'task'>): Promise<void>
}

/** A task that is listened to until this is released. */
export interface HeardTask extends AsyncDisposable {
  /** All that was said so far; null: nothing. */
  said(): SaidOfTask | null
}

/** Words by files of the state folder. `watch` begins to watch a folder. */
export function agentWords(state: string, watch: (folder: string, heard: () => void) => Disposable): AgentWords {
  const tasks = new RunningTasks(state)
  return {
    listen: async (task, onWord) => {
      await tasks.begin({ ...task, worker: ownProcess() })
      const watching = watch(tasks.saidFolder, () => tell(tasks.said(task)))
      let last = JSON.stringify(tasks.said(task))
      function tell(said: SaidOfTask | null): void {
        const text = JSON.stringify(said)
        if (said !== null && text !== last) onWord(said)
        last = text
      }
      return {
        said: () => tasks.said(task),
        [Symbol.asyncDispose]: async () => {
          watching[Symbol.dispose]()
          await tasks.end(task).catch(() => undefined) // it is passed over once this process is gone
        },
      }
    },
    left: async (sessions) => {
      const said = await tasks.allSaid()
      return said.filter(({ session, end }) => end !== null && sessions.includes(session))
    },
    forget: (said) => tasks.forget(said),
  }
}

function ownProcess(): RunningTask['worker'] {
  return { pid: process.pid, startTicks: processStart(process.pid) ?? '0', namespace: pidNamespace() }
}

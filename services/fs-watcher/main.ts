import { run } from '#runtime/run.ts'
import { program } from './fs-watcher.ts'

await run(program)

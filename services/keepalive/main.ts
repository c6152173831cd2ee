import { run } from '#runtime/run.ts'
import { program } from './keepalive.ts'

await run(program)

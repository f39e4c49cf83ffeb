/* Burns half a second of CPU in each of two processes, however long a loaded machine takes for it. */
#include <math.h>
#include <time.h>
#include <unistd.h>
#include <sys/wait.h>
volatile double x;
__attribute__((noinline)) void leaf(void){ for(int i=0;i<20000;i++) x+=sqrt(i+x); }
__attribute__((noinline)) void mid(void){ leaf(); x+=1; }
int main(){ pid_t p=fork(); clock_t e=clock()+CLOCKS_PER_SEC/2; while(clock()<e) { for(int i=0;i<100;i++) mid(); if(p==0) getppid(); } if(p) wait(0); return 0; }

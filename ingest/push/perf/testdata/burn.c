/* Burns CPU in two processes, for one to two seconds. */
#include <math.h>
#include <time.h>
#include <unistd.h>
#include <sys/wait.h>
volatile double x;
__attribute__((noinline)) void leaf(void){ for(int i=0;i<20000;i++) x+=sqrt(i+x); }
__attribute__((noinline)) void mid(void){ leaf(); x+=1; }
int main(){ pid_t p=fork(); time_t e=time(0)+2; while(time(0)<e) { for(int i=0;i<100;i++) mid(); if(p==0) getppid(); } if(p) wait(0); return 0; }
